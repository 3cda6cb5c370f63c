"""How far back a chore looks for what is due, where the beginning of its index may be dead."""

from pgqueue.worker.clock import boottime

_MARGIN = 1.0
"""Seconds that a look goes further back: a moment may be set a while before it is committed."""
_SHARE = 0.1
"""Of the time, about, goes into looks from the very beginning."""
_LONGEST = 10.0
"""Seconds after which the next one comes in any case: it may only have been kept waiting."""


class Outlook:
    """What was due before a complete look is done, but for what was locked, or committed late.

    While an old snapshot is held, whatever was ever due stays in the index, dead, and each look
    from its beginning passes all of it. So such a look is followed by others that go back to the
    last complete one, until it took a tenth of the time. Where it takes a millisecond, all are.
    What a look to the last complete one cannot find is therefore found within seconds.
    """

    def __init__(self) -> None:
        self._began = 0.0
        self._complete_at: float | None = None
        self._is_whole = True
        self._whole_at = 0.0

    def begin(self) -> float | None:
        """Return how many seconds to look back; ``None``: to the beginning."""
        self._began = boottime()
        self._is_whole = self._complete_at is None or self._began >= self._whole_at
        if self._is_whole or self._complete_at is None:
            return None
        return self._began - self._complete_at + _MARGIN

    def end(self, *, complete: bool) -> None:
        """The look has been; *complete*: it found all that is due."""
        now = boottime()
        if complete:
            self._complete_at = self._began
        if self._is_whole:
            self._whole_at = now + min((now - self._began) * (1 / _SHARE - 1), _LONGEST)
