"""Everything this worker holds: running, waiting for a slot, or finished and not yet written.

Written by the event loop, read by the heartbeat's thread; each access is one dict operation.
"""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pgqueue.context import Stop, Why
from pgqueue.job import Job
from pgqueue.outcome import Outcome
from pgqueue.worker.clock import boottime
from pgqueue.worker.page import Page

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Future


class Terms:
    """What a job wants of its lease, where that is not the worker's usual one.

    Written by the handler, read by the heartbeat; what was asked counts as granted once a renewal
    was sent after it."""

    __slots__ = ("asked_at", "begun", "manual", "present", "seconds", "seen_at")

    def __init__(
        self, seconds: float | None = None, *, manual: bool = False, begun: bool = True
    ) -> None:
        self.manual = manual
        """Whether nothing but the handler's asking renews the lease while the handler runs."""
        self.begun = begun
        """Whether the handler runs; a process child may have to be started for it first."""
        self.present: float | None = None
        """How long the last renewal made it; ``None``: as usual."""
        self.seen_at = -math.inf
        """When the database last said that the job is still ours, though its row was locked."""
        self.ask(seconds)

    def begin(self) -> None:
        """The handler begins, which counts as its first word."""
        self.begun = True
        self.ask(self.seconds)

    def ask(self, seconds: float | None) -> None:
        """Have the next renewal last for *seconds*; ``None``: as usual."""
        self.seconds = seconds
        self.asked_at = boottime()  # last: a renewal sent after it has seen the length


class Hold:
    """A job in hand, and how far it has come."""

    __slots__ = (
        "job",
        "leased_at",
        "outcome",
        "page",
        "started",
        "stop",
        "task",
        "terms",
        "thread",
        "timed_out",
        "watched",
    )

    def __init__(self, job: Job, leased_at: float) -> None:
        self.job = job
        self.leased_at = leased_at
        """When the claim or renewal that gave the present lease was *sent*."""
        self.started: float | None = None
        self.watched = False
        """It runs in this process, where nothing can end it by force."""
        self.timed_out = False
        self.outcome: Outcome | None = None
        """What it came to, once that is known; not yet written, or it would not be held."""
        self.terms: Terms | None = None
        self.page: Page | None = None
        """What it said of itself; ``None``: nothing."""
        self.stop = Stop()
        self.task: asyncio.Task[None] | None = None
        self.thread: Future[Any] | None = None


class Holdings:
    """The jobs in hand, by (id, attempt)."""

    def __init__(self) -> None:
        self._held: dict[tuple[int, int], Hold] = {}
        self.giving_up = False
        """Set by the heartbeat before it gives everything back: nothing more may be taken."""

    def __len__(self) -> int:
        return len(self._held)

    def add(self, jobs: Iterable[Job], leased_at: float) -> list[Hold]:
        """Hold *jobs*, whose claim was sent at *leased_at*."""
        holds = [Hold(job, leased_at) for job in jobs]
        for hold in holds:
            self._held[hold.job.id, hold.job.attempt] = hold
        return holds

    def drop(self, job: Job) -> None:
        """Hold *job* no longer: its outcome is written, or there is nothing to write."""
        self._held.pop((job.id, job.attempt), None)

    def get(self, job: Job) -> Hold | None:
        return self._held.get((job.id, job.attempt))

    def all(self) -> list[Hold]:
        """Return the holds as they are now; safe in any thread."""
        return list(self._held.values())

    def request_cancel(self, job_id: int) -> None:
        """Ask the job to stop, if it is here."""
        for hold in self.all():
            if hold.job.id == job_id:
                hold.stop.request(Why.CANCELLED)
