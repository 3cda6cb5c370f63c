"""What can be said about a job when it is enqueued, and the new job that carries it."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum
from operator import attrgetter
from typing import Any, Final, NamedTuple, TypedDict, Unpack

from pgqueue.errors import InvalidOption
from pgqueue.secrecy.credentials import may_hold
from pgqueue.secrecy.guard import Guard, hint
from pgqueue.secrecy.sealing import Sealer

Seconds = float | timedelta
"""A length of time: a number of seconds, or a timedelta."""

LONGEST = 100 * 366 * 86400.0
"""Seconds that any length of time may have: a hundred years."""


class Unset(Enum):
    """Marks an option nobody set, where ``None`` means something."""

    UNSET = "unset"

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset.UNSET


class Keep(NamedTuple):
    """How long a job stays in history, by what became of it. ``None`` stands for "not said"."""

    succeeded: Seconds | None = None
    """Default 7 days."""
    cancelled: Seconds | None = None
    """Of cancelled and discarded jobs. Default: as long as the succeeded."""
    dead: Seconds | None = None
    """How long a dead job waits for a person before it is discarded. Default: for ever."""


class JobOptions(TypedDict, total=False):
    """The options of :class:`NewJob`, as keywords of whatever takes them."""

    queue: str | None
    priority: int | None
    delay: Seconds | None
    run_at: datetime | None
    expires: Seconds | datetime | None
    max_attempts: int | None
    max_crashes: int | None
    timeout: Seconds | Unset | None
    keep: Seconds | Keep | None
    key: str | None
    key_ttl: Seconds | None
    actor: str | None
    metadata: Mapping[str, Any] | None
    on_dead_task: str | None


class Rules(NamedTuple):
    """What a task demands of its jobs when they are enqueued. ``Rules()`` is what a job without a
    task, made by hand, is held to."""

    guard: Guard = Guard()
    actor_required: bool = False
    sealer: Sealer | None = None
    """Encrypts the arguments, once the job's id is known."""

    def examine(self, job: "NewJob") -> None:
        """Raise :class:`CredentialInPayload` for arguments that hold a credential, and
        :class:`InvalidOption` for a job that must run on somebody's behalf and does not."""
        if self.actor_required and job.actor is None:
            raise InvalidOption(
                "actor", f"task {job.task!r} runs on somebody's behalf only; say actor=..."
            )
        self.guard.check(job.args, "args")


class NewJob(NamedTuple):
    """A job that is to be enqueued. Made by :meth:`Task.job`; immutable, so it can be kept and
    reused.

    ``None`` stands for "not said": then the task decides, then the queue, then the default.
    """

    task: str
    args: str = "{}"
    """The arguments as a JSON object."""
    queue: str | None = None
    """Default ``"default"``."""
    priority: int | None = None
    """0 to 32767, the smaller the sooner. Default 100."""
    delay: Seconds | None = None
    """Start no earlier than this long after the enqueue, by the database's clock. Default 0."""
    run_at: datetime | None = None
    """Start no earlier than this moment (with a time zone). Excludes *delay*."""
    expires: Seconds | datetime | None = None
    """Do not start later than this: that long after the enqueue, or at that moment, a job that
    has not started is dead (``expired``)."""
    max_attempts: int | None = None
    """How often it may run in all, counting the first time, 1 to 1000. Default 5."""
    max_crashes: int | None = None
    """After how many vanished workers it is dead. Default 3, the least that finds the culprit."""
    timeout: Seconds | Unset | None = UNSET
    """How long an attempt may take; ``None`` is without limit. Default 60 seconds."""
    keep: "Seconds | Keep | None" = None
    """How long the finished job stays in history, to the day; 0: not at all. Default 7 days."""
    key: str | None = None
    """Idempotency key: while it lives, the same task and key are the same job. Whoever enqueues it
    a second time waits until the first transaction has ended, for as long as its own
    ``lock_timeout`` allows."""
    key_ttl: Seconds | None = None
    """How long the key lives, from the enqueue. Default: for ever."""
    actor: str | None = None
    """On whose behalf the job runs."""
    metadata: Mapping[str, Any] | None = None
    """Anything else to remember; plain JSON values."""
    on_dead_task: str | None = None
    """Name of a task to enqueue in the same statement should the job die; ``""``: none."""
    rules: Rules | None = None
    """What its task demands of it."""

    def __repr__(self) -> str:
        """Without the arguments: a repr ends in logs."""
        said = [
            f"{name}={value!r}"
            for name, value in zip(_OPTION_NAMES, self[2:-1], strict=True)
            if value not in (None, UNSET) and name != "metadata"
        ]
        return f"<NewJob {' '.join([str(self.task), *said])}>"

    def options(self, **changes: Unpack[JobOptions]) -> "NewJob":
        """Return a copy with these options changed. Raises :class:`InvalidOption` for a wrong
        one."""
        unknown = changes.keys() - _OPTIONS
        if unknown:
            raise InvalidOption(
                min(unknown), f"no such option (there are: {', '.join(sorted(_OPTIONS))})"
            )
        return check(self._replace(**changes))


_OPTION_NAMES: Final = NewJob._fields[2:-1]
_OPTIONS: Final = frozenset(_OPTION_NAMES)
NOTHING_SAID: Final = tuple(NewJob("")[2:])
_USUAL: Final = Rules()
_rules_of: Final = attrgetter("rules")
_HINTS: Final = 100
"""Jobs of one call that are looked at for personal data."""


def check(job: NewJob) -> NewJob:
    """Return *job* if its task, arguments and options can be; raise :class:`InvalidOption` naming
    the one that cannot, :class:`TypeError` if it is no job at all."""
    if not isinstance(job, NewJob):
        raise TypeError(f"give task.job(...), not a {type(job).__qualname__}")
    check_text("task", job.task or "", 200)
    if not isinstance(job.args, str) or not job.args.lstrip().startswith("{"):
        raise InvalidOption(
            "args", f"must be a JSON object as text, what task.job(...) makes, not {job.args!r:.80}"
        )
    if job[2:] == NOTHING_SAID:
        return job
    check_text("queue", job.queue, 100)
    check_text("key", job.key, 500)
    check_text("actor", job.actor, 500)
    check_text("on_dead_task", job.on_dead_task or None, 200)
    check_number("priority", job.priority, 0, 32767)
    check_number("max_attempts", job.max_attempts, 1, 1000)
    check_number("max_crashes", job.max_crashes, 1, 1000)
    for name, duration in (("delay", job.delay), ("key_ttl", job.key_ttl)):
        if duration is not None:
            milliseconds(duration, name)
    if job.key_ttl is not None and job.key is None:
        raise InvalidOption("key_ttl", "there is no key that it is for")
    for outcome, duration in keeps(job)._asdict().items():
        if duration is not None:
            milliseconds(duration, "keep" if outcome == "succeeded" else f"keep.{outcome}")
    limited = job.timeout is not None and not isinstance(job.timeout, Unset)
    if limited and milliseconds(job.timeout, "timeout") <= 0:
        raise InvalidOption("timeout", "must be longer than nothing; None is without limit")
    if job.run_at is not None:
        if job.delay is not None:
            raise InvalidOption("run_at", "cannot be given together with delay")
        _check_moment("run_at", job.run_at)
    if job.expires is not None:
        _check_expires(job, job.expires)
    return job


def examine(jobs: Sequence[NewJob]) -> bool:
    """Hold *jobs* to the rules of their tasks, and hint at personal data in the first of them.
    Return whether any has rules of its own."""
    # The commonest answer for all of them at once: nothing to be seen, and no rules but the usual.
    special = any(map(_rules_of, jobs))
    text = jobs[0].args if len(jobs) == 1 else "\n".join([job.args for job in jobs])
    if special or may_hold(text):
        for job in jobs:
            (job.rules or _USUAL).examine(job)
    for job in jobs[:_HINTS]:
        hint(job.task, job.args, (job.rules or _USUAL).guard)
    return special


def keeps(job: NewJob) -> Keep:
    """Return how long *job* is kept, by outcome."""
    return job.keep if isinstance(job.keep, Keep) else Keep(job.keep)


def milliseconds(duration: object, name: str) -> int:
    """Return *duration* in whole milliseconds, rounded up; raise InvalidOption if it cannot be
    one."""
    if isinstance(duration, timedelta):
        duration = duration.total_seconds()
    if isinstance(duration, bool) or not isinstance(duration, (int, float)):
        raise InvalidOption(name, f"must be seconds or a timedelta, not {duration!r}")
    if not 0 <= duration <= LONGEST:
        raise InvalidOption(name, f"must be between 0 seconds and 100 years, not {duration!r}")
    # Rounded first: 0.07 * 1000 is a little more than 70.
    return math.ceil(round(duration * 1000, 6))


def check_text(name: str, value: str | None, longest: int) -> None:
    """Raise InvalidOption unless *value* is None or text that can be stored, not empty and not
    longer than so many characters."""
    if value is None:
        return
    if not isinstance(value, str) or not 1 <= len(value) <= longest or not _is_storable(value):
        raise InvalidOption(name, f"must be text of 1 to {longest} characters, not {value!r:.80}")


def _is_storable(text: str) -> bool:
    """Whether a text column can hold it: no NUL, no lone surrogate."""
    return "\0" not in text and (
        text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)
    )


def check_number(name: str, value: int | None, least: int, most: int) -> None:
    """Raise InvalidOption unless *value* is None or a whole number from *least* to *most*."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InvalidOption(name, f"must be a whole number from {least} to {most}, not {value!r}")


def _check_expires(job: NewJob, expires: Seconds | datetime) -> None:
    if isinstance(expires, datetime):
        _check_moment("expires", expires)
        too_late = job.run_at is not None and job.run_at >= expires
    else:
        limit = milliseconds(expires, "expires")
        too_late = job.delay is not None and milliseconds(job.delay, "delay") >= limit
    if too_late:
        raise InvalidOption("expires", "the job would be dead before it may start")


def _check_moment(name: str, moment: datetime) -> None:
    if not isinstance(moment, datetime) or moment.utcoffset() is None:
        raise InvalidOption(
            name, f"must be a datetime with a time zone, not {moment!r}; use delay for a duration"
        )
