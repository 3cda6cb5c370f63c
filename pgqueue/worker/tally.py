"""The tally: counts what this worker starts, how it ends and what it took, minute by minute."""

from datetime import datetime
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


class Counts:
    """What is counted of one task of one queue in one minute; the names are columns of
    ``pgqueue.tallies``."""

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
        self.waits = [0] * BUCKETS
        self.runs = [0] * BUCKETS


class Tally:
    """The counts that were not told yet.

    A minute is the database's, carried forward by this machine's steady clock from what the last
    claim said: ``synchronise``."""

    def __init__(self) -> None:
        self._counts: dict[tuple[int, str, str], Counts] = {}
        self._offset = 0.0
        self._due_at = 0.0

    def __bool__(self) -> bool:
        return bool(self._counts)

    @property
    def due_in(self) -> float:
        """Seconds until the counts are to be told."""
        return max(0.0, self._due_at - boottime()) if self._counts else float("inf")

    def synchronise(self, now: datetime) -> None:
        """The database has just said what time it is."""
        self._offset = now.timestamp() - boottime()

    def start(self, job: Job, moment: float) -> None:
        """An attempt has begun, at *moment* by the boot clock."""
        counts = self._of(job, moment)
        counts.started += 1
        ready_at = job.run_at if job.run_at > job.created_at else job.created_at
        wait = moment + self._offset - ready_at.timestamp()
        if wait < 0.0:
            wait = 0.0
        counts.wait += wait
        if wait > counts.longest_wait:
            counts.longest_wait = wait
        counts.waits[min(int(wait * 1000).bit_length(), BUCKETS - 1)] += 1

    def end(self, outcome: Outcome) -> None:
        """The database has this outcome of an attempt."""
        counts = self._of(outcome.job, outcome.ended)
        match outcome:
            case Succeeded() | Committed():
                counts.succeeded += 1
            case Retried():
                self._fail(counts, outcome.timed_out)
                counts.retried += 1
            case Died():
                self._fail(counts, outcome.timed_out)
                counts.dead += 1
            case Crashed():
                counts.crashed += 1
                if outcome.job.crashes + 1 >= outcome.job.max_crashes:
                    counts.dead += 1
                else:
                    counts.retried += 1
            case Cancelled():
                counts.cancelled += 1
                return
            case Snoozed():
                counts.snoozed += 1
                return
            case Released():
                counts.released += 1
                return
        run = outcome.ended - outcome.started
        counts.run += run
        if run > counts.longest_run:
            counts.longest_run = run
        counts.runs[min(int(run * 1000).bit_length(), BUCKETS - 1)] += 1

    def take(self) -> list[dict[str, Any]]:
        """Return the counts as rows of ``pgqueue.tallies``, and count anew.

        They are gone from here: counts whose telling has no answer are rather lost, and found again
        in history, than told twice."""
        taken, self._counts = self._counts, {}
        return [
            {
                "at": minute * 60,
                "queue": queue,
                "task": task,
                **vars(counts),
                "waits": _trimmed(counts.waits),
                "runs": _trimmed(counts.runs),
            }
            for (minute, queue, task), counts in taken.items()
        ]

    def _of(self, job: Job, moment: float) -> Counts:
        key = (int(moment + self._offset) // 60, job.queue, job.task)
        counts = self._counts.get(key)
        if counts is None:
            if not self._counts:
                self._due_at = boottime() + TELL_EVERY
            counts = self._counts[key] = Counts()
        return counts

    @staticmethod
    def _fail(counts: Counts, timed_out: bool) -> None:
        if timed_out:
            counts.timed_out += 1
        else:
            counts.failed += 1


def _trimmed(histogram: list[int]) -> list[int]:
    """Without the zeros at its end."""
    size = len(histogram)
    while size and not histogram[size - 1]:
        size -= 1
    return histogram[:size]
