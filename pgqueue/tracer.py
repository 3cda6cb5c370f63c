"""Where a tracer is put by :mod:`pgqueue.tracing`, and what it is asked. Without one, whoever comes
by here compares ``active`` with ``None``, and nothing else."""

from collections.abc import Awaitable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from pgqueue.job import Job
from pgqueue.options import NewJob
from pgqueue.outcome import Outcome


class Sending(Protocol):
    """One call that enqueues."""

    def stamp(self, job: NewJob) -> NewJob:
        """Return *job*, one of those that are enqueued, with the call's trace in its metadata."""

    def carry(self, job: NewJob) -> NewJob:
        """The same for a job that is to be enqueued some day, because of this call."""

    def sent(self, job_id: int, *, duplicate: bool) -> None:
        """The one job of the call is inserted."""

    def sent_many(self, count: int, *, batch_id: int | None = None) -> None:
        """All the jobs of the call are inserted, as a batch if one is named."""


class Tracer(Protocol):
    """Makes spans."""

    def send(self, job: NewJob | None) -> AbstractContextManager[Sending]:
        """Return the span of a call that enqueues *job*, or (``None``) any number of them."""

    async def attempt(self, job: Job, running: Awaitable[Outcome]) -> Outcome:
        """Await *running*, an attempt at *job*, inside a span of its own."""

    def carrier(self) -> dict[str, str]:
        """The present trace, as it is told to another process."""

    def inside(self, carrier: Mapping[str, str]) -> AbstractContextManager[None]:
        """Be inside the trace of another process."""

    def log_fields(self) -> dict[str, str]:
        """``trace_id`` and ``span_id`` of the present span, if there is one."""


active: Tracer | None = None
"""The tracer of this process."""


def carrier() -> dict[str, str] | None:
    """Return the present trace for another process; ``None`` where nothing is traced."""
    return None if active is None else active.carrier()


def inside(carrier: Mapping[str, str] | None) -> AbstractContextManager[None]:
    """Be inside the trace of another process, where both have a tracer."""
    return nullcontext() if active is None or not carrier else active.inside(carrier)
