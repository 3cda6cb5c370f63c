"""What a handler raises to decide what becomes of its own job."""

from pgqueue.options import Seconds, milliseconds


class Signal(Exception):
    """Raised by a handler on purpose; not an error of the job."""


class Retry(Signal):
    """Try again, as after any failure: charged, and within ``max_attempts``.

    *after*: seconds or a timedelta until then; ``None`` leaves it to the backoff.
    """

    def __init__(self, after: Seconds | None = None, reason: str = "") -> None:
        self.after = None if after is None else milliseconds(after, "after") / 1000
        self.reason = reason
        super().__init__(self.after, reason)

    def __str__(self) -> str:
        return self.reason or "the handler asked to be tried again"


class Snooze(Signal):
    """Run again later, *seconds* (or a timedelta) from now. Charged nothing, as often as wanted."""

    def __init__(self, seconds: Seconds) -> None:
        self.delay = milliseconds(seconds, "seconds") / 1000
        super().__init__(self.delay)

    def __str__(self) -> str:
        return f"snoozed for {self.delay:g} s"


class Fail(Signal):
    """Give up now: the job is dead (``non_retryable``)."""


class Cancel(Signal):
    """End the job as cancelled: neither done nor failed."""
