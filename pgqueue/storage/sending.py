"""Enqueue, told to the tracer of this process: one span a call, whose trace all the jobs of the
call take along in their metadata."""

from collections.abc import Iterable, Sequence

from pgqueue.options import NewJob
from pgqueue.storage import batches, enqueueing
from pgqueue.storage.batches import Batch, NewBatch
from pgqueue.storage.enqueueing import Enqueued
from pgqueue.storage.operation import Operation
from pgqueue.tracer import Tracer


def enqueue_traced(
    tracer: Tracer, jobs: Sequence[NewJob], *, notify: bool, raise_on_conflict: bool
) -> Operation[list[Enqueued]]:
    """:func:`enqueueing.enqueue`, where there is a tracer."""
    if not jobs:
        return []
    with tracer.send(jobs[0] if len(jobs) == 1 else None) as sending:
        enqueued = yield from enqueueing.enqueue(
            [sending.stamp(job) for job in jobs],
            notify=notify,
            raise_on_conflict=raise_on_conflict,
        )
        if len(enqueued) == 1:
            sending.sent(enqueued[0].id, duplicate=enqueued[0].duplicate)
        else:
            sending.sent_many(len(enqueued))
    return enqueued


def enqueue_batch_traced(
    tracer: Tracer, new: NewBatch, jobs: Iterable[NewJob], *, notify: bool, raise_on_conflict: bool
) -> Operation[Batch]:
    """:func:`batches.enqueue`, where there is a tracer. The callbacks take the trace along, too."""
    with tracer.send(None) as sending:
        batch = yield from batches.enqueue(
            new._replace(
                on_success=new.on_success and sending.carry(new.on_success),
                on_complete=new.on_complete and sending.carry(new.on_complete),
                on_failure=new.on_failure and sending.carry(new.on_failure),
            ),
            (sending.stamp(job) for job in jobs),
            notify=notify,
            raise_on_conflict=raise_on_conflict,
        )
        sending.sent_many(batch.total + batch.duplicates, batch_id=batch.id)
    return batch
