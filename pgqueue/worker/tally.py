"""The tally: counts what this worker starts, how it ends and what it took, minute by minute.

Every job passes here twice, so what is written twice below is written for speed."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

from pgqueue.job import Job
from pgqueue.outcome import (
    Cancelled,
    Committed,
    Crashed,
    Died,
    Outcome,
    Released,
    Retried,
    Snoozed,
    Succeeded,
)
from pgqueue.worker.clock import boottime

TELL_EVERY = 5.0
"""Seconds after which counts are told: so many are lost with a worker that is killed."""

BUCKETS = 28
"""The first holds what took less than 1 ms, each other twice as long as the one before."""

_BITS = 64
_LONG = timedelta(days=30)
_NUMBERS = (
    *("started", "succeeded", "failed", "timed_out", "crashed", "cancelled", "snoozed"),
    *("released", "retried", "dead", "wait", "run"),
)


class Counts:
    """What is counted of one task of one queue in one minute, under the names of columns of
    ``pgqueue.tallies``."""

    __slots__ = (
        *("started", "succeeded", "failed", "timed_out", "crashed", "cancelled", "snoozed"),
        *("released", "retried", "dead", "wait", "longest_wait", "run", "longest_run"),
        *("waits", "runs"),
    )

    def __init__(self) -> None:
        self.started = 0
        self.succeeded = 0
        self.failed = 0
        self.timed_out = 0
        self.crashed = 0
        self.cancelled = 0
        self.snoozed = 0
        self.released = 0
        self.retried = 0
        self.dead = 0
        self.wait = 0.0
        self.longest_wait = 0.0
        self.run = 0.0
        self.longest_run = 0.0
        self.waits = [0] * _BITS
        self.runs = [0] * _BITS

    def add(self, other: "Counts") -> None:
        """Count what *other* has counted too."""
        for name in _NUMBERS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.longest_wait = max(self.longest_wait, other.longest_wait)
        self.longest_run = max(self.longest_run, other.longest_run)
        self.waits = [one + more for one, more in zip(self.waits, other.waits, strict=True)]
        self.runs = [one + more for one, more in zip(self.runs, other.runs, strict=True)]


class Tally:
    """The counts that were not told yet.

    A minute is the database's, carried forward by this machine's steady clock from what the last
    claim said: ``synchronise``."""

    def __init__(self) -> None:
        self._counts: dict[tuple[int, str, str], Counts] = {}
        self._now: datetime | None = None
        self._read_at = 0.0
        self._offset = 0.0
        self._is_even = False
        self._due_at = 0.0
        self.on_taken: Callable[[str, str, Counts], None] | None = None
        """Called with queue, task and counts once they are taken to be told."""

    def __bool__(self) -> bool:
        return bool(self._counts)

    @property
    def due_in(self) -> float:
        """Seconds until the counts are to be told."""
        return max(0.0, self._due_at - boottime()) if self._counts else float("inf")

    def synchronise(self, now: datetime, read_at: float) -> None:
        """The database has said what time it is, at *read_at* by the boot clock."""
        self._now = now
        self._read_at = read_at
        self._offset = now.timestamp() - self._read_at
        # Moments of one zone are subtracted as they read, a third of the cost of as they are: the
        # same, unless the clocks of that zone were changed in between.
        self._is_even = now.utcoffset() == (now - _LONG).utcoffset()

    def start(self, job: Job, moment: float) -> None:
        """An attempt has begun, at *moment* by the boot clock."""
        key = (int(moment + self._offset) // 60, job.queue, job.task)
        counts = self._counts.get(key) or self._begin(key)
        ready_at = job.run_at if job.run_at > job.created_at else job.created_at
        if self._is_even and self._now is not None:
            wait = (self._now - ready_at).total_seconds() + moment - self._read_at
        else:
            wait = moment + self._offset - ready_at.timestamp()
        if wait < 0.0:
            wait = 0.0
        counts.started += 1
        counts.wait += wait
        if wait > counts.longest_wait:
            counts.longest_wait = wait
        counts.waits[int(wait * 1000).bit_length()] += 1

    def end(self, outcome: Outcome) -> None:
        """The database has this outcome of an attempt."""
        job, ended = outcome.job, outcome.ended
        key = (int(ended + self._offset) // 60, job.queue, job.task)
        counts = self._counts.get(key) or self._begin(key)
        kind = type(outcome)
        if kind is Succeeded or kind is Committed:
            counts.succeeded += 1
        elif not _count(counts, outcome):
            return
        run = ended - outcome.started
        counts.run += run
        if run > counts.longest_run:
            counts.longest_run = run
        counts.runs[int(run * 1000).bit_length()] += 1

    def take(self) -> list[dict[str, Any]]:
        """Return the counts as rows of ``pgqueue.tallies``, and count anew.

        They are gone from here: counts whose telling has no answer are rather lost, and found again
        in history, than told twice."""
        taken, self._counts = self._counts, {}
        if self.on_taken is not None:
            for (_, queue, task), counts in taken.items():
                self.on_taken(queue, task, counts)
        return [
            {
                "at": minute * 60,
                "queue": queue,
                "task": task,
                **{name: getattr(counts, name) for name in Counts.__slots__},
                "waits": trimmed(counts.waits),
                "runs": trimmed(counts.runs),
            }
            for (minute, queue, task), counts in taken.items()
        ]

    def untold(self) -> Iterator[tuple[str, str, Counts]]:
        """Return queue, task and counts of what was not taken yet."""
        for (_, queue, task), counts in self._counts.items():
            yield queue, task, counts

    def _begin(self, key: tuple[int, str, str]) -> Counts:
        if not self._counts:
            self._due_at = boottime() + TELL_EVERY
        counts = self._counts[key] = Counts()
        return counts


def _count(counts: Counts, outcome: Outcome) -> bool:
    """Count an attempt that did not succeed; return whether its time is to be counted too."""
    match outcome:
        case Retried() | Died():
            if outcome.timed_out:
                counts.timed_out += 1
            else:
                counts.failed += 1
            if isinstance(outcome, Died):
                counts.dead += 1
            else:
                counts.retried += 1
        case Crashed(job):
            counts.crashed += 1
            if job.crashes + 1 >= job.max_crashes:
                counts.dead += 1
            else:
                counts.retried += 1
        case Cancelled():
            counts.cancelled += 1
            return False
        case Snoozed():
            counts.snoozed += 1
            return False
        case Released():
            counts.released += 1
            return False
    return True


def trimmed(bits: list[int]) -> list[int]:
    """Return the buckets, without the zeros at their end."""
    histogram = [*bits[: BUCKETS - 1], sum(bits[BUCKETS - 1 :])]
    while histogram and not histogram[-1]:
        histogram.pop()
    return histogram
