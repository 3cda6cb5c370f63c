"""Enqueue, told to the tracer of this process if it has one: one span a call, whose trace all the
jobs of the call take along in their metadata."""

from collections.abc import Iterable, Sequence

from pgqueue import tracer as present
from pgqueue.options import NewJob
from pgqueue.storage import batches, enqueueing
from pgqueue.storage.batches import Batch, NewBatch
from pgqueue.storage.enqueueing import Enqueued
from pgqueue.storage.operation import Operation
from pgqueue.tracer import Tracer


def enqueue(jobs: Sequence[NewJob], **manner: bool) -> Operation[list[Enqueued]]:
    """:func:`enqueueing.enqueue`, seen by the tracer."""
    if present.active is None or not jobs:
        return enqueueing.enqueue(jobs, **manner)
    return _traced(present.active, jobs, manner)


def enqueue_batch(new: NewBatch, jobs: Iterable[NewJob], **manner: bool) -> Operation[Batch]:
    """:func:`batches.enqueue`, seen by the tracer."""
    if present.active is None:
        return batches.enqueue(new, jobs, **manner)
    return _traced_batch(present.active, new, jobs, manner)


def _traced(
    tracer: Tracer, jobs: Sequence[NewJob], manner: dict[str, bool]
) -> Operation[list[Enqueued]]:
    with tracer.send(jobs[0] if len(jobs) == 1 else None) as sending:
        stamped = [sending.stamp(job) for job in jobs]
        enqueued = yield from enqueueing.enqueue(stamped, **manner)
        if len(enqueued) == 1:
            sending.sent(enqueued[0].id, duplicate=enqueued[0].duplicate)
        else:
            sending.sent_many(len(enqueued))
    return enqueued


def _traced_batch(
    tracer: Tracer, new: NewBatch, jobs: Iterable[NewJob], manner: dict[str, bool]
) -> Operation[Batch]:
    with tracer.send(None) as sending:
        carried = new._replace(
            on_success=new.on_success and sending.carry(new.on_success),
            on_complete=new.on_complete and sending.carry(new.on_complete),
            on_failure=new.on_failure and sending.carry(new.on_failure),
        )
        stamped = (sending.stamp(job) for job in jobs)
        batch = yield from batches.enqueue(carried, stamped, **manner)
        sending.sent_many(batch.total + batch.duplicates, batch_id=batch.id)
    return batch
