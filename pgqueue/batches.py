"""Batches: jobs enqueued as one in the application's own transaction, and what is done to them as
one.

All functions take the connections that :func:`pgqueue.enqueue` takes. A batch is written by several
statements, so its enqueue wants a transaction: a connection that commits each statement by itself
is refused. Should it raise, roll back (a savepoint will do): a part of the jobs may be there.

The callbacks are jobs themselves, each enqueued exactly once, by any worker, within a second of the
last job's end: *on_complete* when nothing is left to run for the first time; *on_success* when all
have succeeded, be it only after a retry; *on_failure* when nothing is left to run and a job is
dead, discarded or cancelled, for the first time. In their handlers ``ctx.batch_id`` is the batch.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from pgqueue import tracer
from pgqueue.chunks import Chunks
from pgqueue.errors import InvalidOption
from pgqueue.options import NewJob, check_text
from pgqueue.storage import batches, listing
from pgqueue.storage.batches import Batch, BatchStatus, Cancelled, NewBatch, Retried
from pgqueue.storage.drivers import (
    is_two_phase,
    require_transaction,
    require_transaction_async,
    run,
    run_async,
)
from pgqueue.storage.eager import run_eagerly, run_eagerly_async
from pgqueue.storage.listing import Page
from pgqueue.storage.operation import Operation
from pgqueue.storage.schema import schema_expected
from pgqueue.storage.sending import enqueue_batch_traced
from pgqueue.tasks import Task


def enqueue_batch(
    connection: Any,
    jobs: Iterable[NewJob],
    *,
    name: str | None = None,
    on_success: NewJob | None = None,
    on_complete: NewJob | None = None,
    on_failure: NewJob | None = None,
    actor: str | None = None,
    notify: bool | None = None,
    on_conflict: str = "return",
    bind_arguments: Any = None,
) -> Batch:
    """Insert *jobs* as one batch in the transaction that *connection* is in, in slices of 5,000.

    *jobs* may be lazy. A job whose key an earlier job has is not made, and that earlier job does
    not join the batch: ``total`` counts the new ones, ``duplicates`` the others. Without any new
    job the batch is complete at once. *actor* goes to every job, callbacks too, that has none of
    its own. *notify* and *on_conflict* are those of :func:`pgqueue.enqueue`.

    Raises :class:`InvalidOption`, :class:`UnsupportedConnection`, :class:`SchemaMismatch`.
    """
    new = _checked(name, actor, on_success, on_complete, on_failure)
    operation = _insertion(new, jobs, **_manner(connection, notify, on_conflict))
    require_transaction(connection, bind_arguments)
    with schema_expected:
        batch = run(connection, operation, bind_arguments)
    run_eagerly(connection)
    return batch


async def enqueue_batch_async(
    connection: Any,
    jobs: Iterable[NewJob],
    *,
    name: str | None = None,
    on_success: NewJob | None = None,
    on_complete: NewJob | None = None,
    on_failure: NewJob | None = None,
    actor: str | None = None,
    notify: bool | None = None,
    on_conflict: str = "return",
    bind_arguments: Any = None,
) -> Batch:
    """:func:`enqueue_batch` on an asynchronous connection or session."""
    new = _checked(name, actor, on_success, on_complete, on_failure)
    operation = _insertion(new, jobs, **_manner(connection, notify, on_conflict))
    await require_transaction_async(connection, bind_arguments)
    with schema_expected:
        batch = await run_async(connection, operation, bind_arguments)
    await run_eagerly_async(connection)
    return batch


def enqueue_chunked(
    connection: Any,
    task: Task[..., Any],
    items: Iterable[Any],
    chunk_size: int = 100,
    *,
    arguments: Mapping[str, Any] | None = None,
    name: str | None = None,
    on_success: NewJob | None = None,
    on_complete: NewJob | None = None,
    on_failure: NewJob | None = None,
    actor: str | None = None,
    notify: bool | None = None,
    bind_arguments: Any = None,
    **options: Any,
) -> Batch:
    """Insert a batch of jobs of *task*, each with *chunk_size* of the *items*, the last with the
    rest.

    The task is called with ``items`` (a list), ``chunk_index`` (from 0), ``total_chunks``, and
    the same *arguments* for all. *items* may be lazy: it is read once, a statement's worth at a
    time, and ``total_chunks`` is right all the same. *options* are those of :class:`NewJob`,
    except ``key``. The rest is as in :func:`enqueue_batch`; no items are a batch without jobs.

    Raises :class:`InvalidPayload`, which names the chunk, if items cannot be stored exactly or a
    chunk is larger than the payload limit: then take a smaller *chunk_size*.
    """
    new = _checked(name, actor, on_success, on_complete, on_failure)
    chunks = Chunks(task, items, chunk_size, arguments or {}, options)
    operation = _chunked(new, chunks, **_manner(connection, notify, "return"))
    require_transaction(connection, bind_arguments)
    with schema_expected:
        batch = run(connection, operation, bind_arguments)
    run_eagerly(connection)
    return batch


async def enqueue_chunked_async(
    connection: Any,
    task: Task[..., Any],
    items: Iterable[Any],
    chunk_size: int = 100,
    *,
    arguments: Mapping[str, Any] | None = None,
    name: str | None = None,
    on_success: NewJob | None = None,
    on_complete: NewJob | None = None,
    on_failure: NewJob | None = None,
    actor: str | None = None,
    notify: bool | None = None,
    bind_arguments: Any = None,
    **options: Any,
) -> Batch:
    """:func:`enqueue_chunked` on an asynchronous connection or session; *items* is an ordinary
    iterable, read on the event loop."""
    new = _checked(name, actor, on_success, on_complete, on_failure)
    chunks = Chunks(task, items, chunk_size, arguments or {}, options)
    operation = _chunked(new, chunks, **_manner(connection, notify, "return"))
    await require_transaction_async(connection, bind_arguments)
    with schema_expected:
        batch = await run_async(connection, operation, bind_arguments)
    await run_eagerly_async(connection)
    return batch


def batch_status(connection: Any, batch_id: int) -> BatchStatus:
    """Return how a batch stands, to the last commit. Raises :class:`BatchNotFound`."""
    return run(connection, batches.show_batch(batch_id))


async def batch_status_async(connection: Any, batch_id: int) -> BatchStatus:
    """:func:`batch_status` on an asynchronous connection or session."""
    return await run_async(connection, batches.show_batch(batch_id))


def batch_jobs(
    connection: Any,
    batch_id: int,
    *,
    state: str | None = None,
    limit: int = 50,
    before: str | None = None,
) -> Page:
    """Return a page of a batch's jobs, newest first, of all states or one; *before* is the ``next``
    of the page before. Jobs whose history is over are not among them."""
    operation = listing.list_jobs(batch_id=batch_id, state=state, limit=limit, before=before)
    return run(connection, operation)


async def batch_jobs_async(
    connection: Any,
    batch_id: int,
    *,
    state: str | None = None,
    limit: int = 50,
    before: str | None = None,
) -> Page:
    """:func:`batch_jobs` on an asynchronous connection or session."""
    operation = listing.list_jobs(batch_id=batch_id, state=state, limit=limit, before=before)
    return await run_async(connection, operation)


def cancel_batch(
    connection: Any, batch_id: int, *, actor: str | None = None, reason: str | None = None
) -> Cancelled:
    """Cancel the jobs of a batch that wait, and ask the workers of those that run; return how many
    of each, and how many were busy. Waits for no lock; each job's cancellation is audited.

    *actor*: who did it, for the audit; the database's user by default. The callbacks are enqueued
    as after any other end. Raises :class:`BatchNotFound`.
    """
    return run(connection, batches.cancel_batch(batch_id, actor=actor, reason=reason))


async def cancel_batch_async(
    connection: Any, batch_id: int, *, actor: str | None = None, reason: str | None = None
) -> Cancelled:
    """:func:`cancel_batch` on an asynchronous connection or session."""
    operation = batches.cancel_batch(batch_id, actor=actor, reason=reason)
    return await run_async(connection, operation)


def retry_batch(
    connection: Any, batch_id: int, *, actor: str | None = None, reason: str | None = None
) -> Retried:
    """Run the dead jobs of a batch again; return how many, and how many were busy. Once all have
    succeeded *on_success* is enqueued. Raises :class:`BatchNotFound`."""
    return run(connection, batches.retry_batch(batch_id, actor=actor, reason=reason))


async def retry_batch_async(
    connection: Any, batch_id: int, *, actor: str | None = None, reason: str | None = None
) -> Retried:
    """:func:`retry_batch` on an asynchronous connection or session."""
    return await run_async(connection, batches.retry_batch(batch_id, actor=actor, reason=reason))


def _insertion(new: NewBatch, jobs: Iterable[NewJob], **manner: bool) -> Operation[Batch]:
    if tracer.active is None:
        return batches.enqueue(new, jobs, **manner)
    return enqueue_batch_traced(tracer.active, new, jobs, **manner)


def _chunked(new: NewBatch, chunks: Chunks, **manner: bool) -> Operation[Batch]:
    batch = yield from _insertion(new, chunks, **manner)
    if chunks.correction is not None:
        old_start, start = chunks.correction
        yield from batches.replace_start(batch.id, old_start=old_start, start=start)
    return batch


def _checked(
    name: str | None,
    actor: str | None,
    on_success: NewJob | None,
    on_complete: NewJob | None,
    on_failure: NewJob | None,
) -> NewBatch:
    check_text("name", name, 200)
    check_text("actor", actor, 500)
    new = NewBatch(name, actor, on_success, on_complete, on_failure)
    for option, job in new._asdict().items():
        if option.startswith("on_") and not isinstance(job, NewJob | None):
            raise InvalidOption(option, f"must be a job, such as task.job(...), not {job!r:.80}")
    return new


def _manner(connection: Any, notify: bool | None, on_conflict: str) -> dict[str, bool]:
    if on_conflict not in ("return", "raise"):
        raise ValueError(f"on_conflict is 'return' or 'raise', not {on_conflict!r}")
    if notify is None:
        notify = not is_two_phase(connection)
    return {"notify": notify, "raise_on_conflict": on_conflict == "raise"}
