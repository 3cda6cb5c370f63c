"""Batches: jobs enqueued together that are seen, cancelled, redriven and closed as one."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from pgqueue.context import present_actor
from pgqueue.errors import BatchNotFound
from pgqueue.job import CALLBACK_OF
from pgqueue.options import NewJob
from pgqueue.storage import enqueueing
from pgqueue.storage.operation import Operation, query

SLICE = 5_000
"""So many jobs are inserted by one statement at most."""
SLICE_BYTES = 16 * 1024 * 1024
"""So much text of arguments one statement carries, give or take a job's."""

VERB_SLICE = 1_000
"""So many jobs of a batch one statement cancels or redrives."""


class NewBatch(NamedTuple):
    """What is said of a batch when it is enqueued."""

    name: str | None = None
    actor: str | None = None
    on_success: NewJob | None = None
    on_complete: NewJob | None = None
    on_failure: NewJob | None = None


class Batch(NamedTuple):
    """A batch as it was enqueued."""

    id: int
    name: str | None
    total: int
    """How many jobs belong to it."""
    duplicates: int
    """How many jobs were not made, because an earlier one has their key: they are not part of
    it."""


class BatchStatus(NamedTuple):
    """How a batch stands. Dead jobs count as failed until they are redriven, discarded ones too."""

    id: int
    name: str | None
    actor: str | None
    created_at: datetime
    completed_at: datetime | None
    """Since when nothing is left to run; known when a worker has closed the batch."""
    total: int
    succeeded: int
    failed: int
    cancelled: int
    success_job_id: int | None
    """The id of the callback's job, once it is enqueued."""
    complete_job_id: int | None
    failure_job_id: int | None
    now: datetime
    """The database's clock at the time of the look."""

    @property
    def done(self) -> int:
        """How many jobs are over."""
        return self.succeeded + self.failed + self.cancelled

    @property
    def pending(self) -> int:
        """How many jobs wait or run."""
        return max(self.total - self.done, 0)

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to run."""
        return self.pending == 0

    @property
    def progress(self) -> float:
        """The share that is over, from 0 to 1."""
        return min(self.done / self.total, 1.0) if self.total else 1.0


class Cancelled(NamedTuple):
    """What became of the jobs of a batch that was cancelled."""

    cancelled: int
    requested: int
    """These run; their workers were asked to stop them."""
    busy: int
    """The rows of these were being written, and were left alone: cancel again."""


class Retried(NamedTuple):
    """What became of the dead jobs of a batch that was retried."""

    retried: int
    busy: int


def enqueue(
    new: NewBatch, jobs: Iterable[NewJob], *, notify: bool = True, raise_on_conflict: bool = False
) -> Operation[Batch]:
    """Insert *jobs* and the batch that they make, in slices: *jobs* may be lazy and endless rows
    long. A batch without jobs is closed at once. One that a handler enqueues is for whom the
    handler's own job runs, unless it says."""
    if new.actor is None:
        new = new._replace(actor=present_actor())
    batch_id = int((yield from query("next_batch"))[0][0])
    total = duplicates = 0
    for some in _slices(jobs, new.actor):
        enqueued = yield from enqueueing.enqueue(
            some, notify=notify, raise_on_conflict=raise_on_conflict, batch_id=batch_id
        )
        made = sum(not each.duplicate for each in enqueued)
        total += made
        duplicates += len(enqueued) - made
    yield from query(
        "insert_batch",
        id=batch_id,
        name=new.name,
        actor=new.actor,
        total=total,
        on_success=_callback(new.on_success, new.actor, batch_id),
        on_complete=_callback(new.on_complete, new.actor, batch_id),
        on_failure=_callback(new.on_failure, new.actor, batch_id),
    )
    if not total:
        yield from query("close_batch", id=batch_id)
    return Batch(batch_id, new.name, total, duplicates)


def replace_start(batch_id: int, *, old_start: str, start: str) -> Operation[int]:
    """Let the arguments of a batch's jobs begin with *start*; return how many began otherwise."""
    rows = yield from query("replace_start", batch_id=batch_id, old_start=old_start, start=start)
    return int(rows[0][0])


def find_batches(ids: Sequence[int]) -> Operation[list[BatchStatus]]:
    """Return how those batches stand that there are, by id."""
    rows = yield from query("find_batches", ids=list(ids))
    return [BatchStatus._make(row) for row in rows]


def show_batch(batch_id: int) -> Operation[BatchStatus]:
    """Return how a batch stands. Raises :class:`BatchNotFound`."""
    found = yield from find_batches([batch_id])
    if not found:
        raise BatchNotFound(batch_id)
    return found[0]


def list_batches(
    *, is_open: bool = False, limit: int = 50, before: int | None = None
) -> Operation[list[BatchStatus]]:
    """Return up to *limit* batches, the newest first; *is_open*: only those under way."""
    rows = yield from query(
        "list_batches", is_open=is_open, limit=limit, before=2**63 - 1 if before is None else before
    )
    return [BatchStatus._make(row) for row in rows]


def cancel_batch(
    batch_id: int, *, actor: str | None = None, reason: str | None = None
) -> Operation[Cancelled]:
    """Cancel what waits, and ask the workers of what runs. Raises :class:`BatchNotFound`."""
    yield from show_batch(batch_id)
    cancelled = requested = busy = 0
    after_id: int | None = 0
    while after_id is not None:
        rows = yield from query(
            "call_cancel_batch",
            id=batch_id,
            actor=actor,
            reason=reason,
            after_id=after_id,
            limit=VERB_SLICE,
        )
        *counts, after_id = rows[0]
        cancelled, requested, busy = (
            cancelled + counts[0],
            requested + counts[1],
            busy + counts[2],
        )
    return Cancelled(cancelled, requested, busy)


def retry_batch(
    batch_id: int, *, actor: str | None = None, reason: str | None = None
) -> Operation[Retried]:
    """Run the dead jobs of a batch again. Raises :class:`BatchNotFound`."""
    yield from show_batch(batch_id)
    retried = busy = 0
    after_id: int | None = 0
    while after_id is not None:
        rows = yield from query(
            "call_retry_batch",
            id=batch_id,
            actor=actor,
            reason=reason,
            after_id=after_id,
            limit=VERB_SLICE,
        )
        retried, busy, after_id = retried + rows[0][0], busy + rows[0][1], rows[0][2]
    return Retried(retried, busy)


class Closing(NamedTuple):
    """What a closer did to one batch."""

    batch_id: int
    is_over: bool | None
    """None: another closer has it."""
    problem: str | None


def close_batches(*, after_id: int, limit: int) -> Operation[list[Closing]]:
    """Fold outcomes into up to *limit* batches after this one, and enqueue the callbacks of those
    that are over."""
    rows = yield from query("close_batches", after_id=after_id, limit=limit)
    return [Closing._make(row) for row in rows]


def _slices(jobs: Iterable[NewJob], actor: str | None) -> Iterator[list[NewJob]]:
    """Yield the jobs in lists that one statement can carry; they have the batch's *actor* unless
    they have their own."""
    some: list[NewJob] = []
    size = 0
    for job in jobs:
        some.append(enqueueing.of_actor(job, actor))
        size += len(job.args)
        if len(some) == SLICE or size >= SLICE_BYTES:
            yield some
            some, size = [], 0
    if some:
        yield some


def _callback(job: NewJob | None, actor: str | None, batch_id: int) -> str | None:
    if job is None:
        return None
    metadata = {**(job.metadata or {}), CALLBACK_OF: batch_id}
    return enqueueing.stored(enqueueing.of_actor(job, actor)._replace(metadata=metadata))
