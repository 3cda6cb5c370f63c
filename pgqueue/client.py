"""Enqueue inside the application's own transaction."""

from collections.abc import Iterable
from typing import Any, Literal, Unpack

from pgqueue import tracer
from pgqueue.options import JobOptions, NewJob, check
from pgqueue.storage.drivers import driver_of, driver_of_async, is_two_phase, run, run_async
from pgqueue.storage.eager import run_eagerly, run_eagerly_async
from pgqueue.storage.enqueueing import Enqueued, remember
from pgqueue.storage.enqueueing import enqueue as insert
from pgqueue.storage.operation import Operation
from pgqueue.storage.schema import schema_expected
from pgqueue.storage.sending import enqueue_traced

OnConflict = Literal["return", "raise"]
"""What to do about a key whose job has other arguments."""


def enqueue(
    connection: Any,
    job: NewJob,
    *,
    notify: bool | None = None,
    on_conflict: OnConflict = "return",
    bind_arguments: Any = None,
    **options: Unpack[JobOptions],
) -> Enqueued:
    """Insert *job* in the transaction that *connection* is in, in one statement.

    *connection* is a psycopg ``Connection``, or a SQLAlchemy ``Connection`` or ``Session`` on the
    psycopg driver. Nothing is committed or rolled back: the job exists when your transaction
    commits, and never if it does not.

    *options* are those of :class:`NewJob` and win over the task's. A *key* that lives already
    returns the earlier job with ``duplicate=True``; if its arguments differ ``conflict=True``, or,
    with ``on_conflict="raise"``, :class:`IdempotencyConflict`. While another transaction that took
    the key is open, this waits for its end, as long as your own ``lock_timeout`` allows; two that
    each take the other's key get PostgreSQL's deadlock (40P01). *notify*: wake a sleeping worker
    (default; a two-phase transaction cannot). *bind_arguments* go to ``Session.connection()``.

    Raises :class:`InvalidOption`, :class:`UnsupportedConnection`, :class:`SchemaMismatch`; other
    database errors as they are.
    """
    jobs = [check(job).options(**options) if options else job]
    operation = _insertion(connection, jobs, notify, on_conflict)
    return _insert(connection, operation, bind_arguments)[0]


def enqueue_many(
    connection: Any,
    jobs: Iterable[NewJob],
    *,
    notify: bool | None = None,
    on_conflict: OnConflict = "return",
    bind_arguments: Any = None,
) -> list[Enqueued]:
    """Insert all *jobs* like :func:`enqueue`, in one statement; return one result a job, in order.

    Of equal keys among them the first is kept, the others are its duplicates. When a conflict is
    raised the other jobs are inserted already: roll back (to a savepoint, at least), or go on with
    the ``results`` of the :class:`IdempotencyConflict`.
    """
    operation = _insertion(connection, list(jobs), notify, on_conflict)
    return _insert(connection, operation, bind_arguments)


async def enqueue_async(
    connection: Any,
    job: NewJob,
    *,
    notify: bool | None = None,
    on_conflict: OnConflict = "return",
    bind_arguments: Any = None,
    **options: Unpack[JobOptions],
) -> Enqueued:
    """:func:`enqueue` on a psycopg ``AsyncConnection``, SQLAlchemy ``AsyncConnection`` or
    ``AsyncSession``."""
    jobs = [check(job).options(**options) if options else job]
    operation = _insertion(connection, jobs, notify, on_conflict)
    return (await _insert_async(connection, operation, bind_arguments))[0]


async def enqueue_many_async(
    connection: Any,
    jobs: Iterable[NewJob],
    *,
    notify: bool | None = None,
    on_conflict: OnConflict = "return",
    bind_arguments: Any = None,
) -> list[Enqueued]:
    """:func:`enqueue_many` on an asynchronous connection or session."""
    operation = _insertion(connection, list(jobs), notify, on_conflict)
    return await _insert_async(connection, operation, bind_arguments)


def _insert(
    connection: Any, operation: Operation[list[Enqueued]], bind_arguments: Any
) -> list[Enqueued]:
    with schema_expected:
        enqueued = run(connection, operation, bind_arguments)
    remember(enqueued, driver_of(connection, bind_arguments))
    run_eagerly(connection)
    return enqueued


async def _insert_async(
    connection: Any, operation: Operation[list[Enqueued]], bind_arguments: Any
) -> list[Enqueued]:
    with schema_expected:
        enqueued = await run_async(connection, operation, bind_arguments)
    remember(enqueued, await driver_of_async(connection, bind_arguments))
    await run_eagerly_async(connection)
    return enqueued


def _insertion(
    connection: Any, jobs: list[NewJob], notify: bool | None, on_conflict: OnConflict
) -> Operation[list[Enqueued]]:
    if on_conflict not in ("return", "raise"):
        raise ValueError(f"on_conflict is 'return' or 'raise', not {on_conflict!r}")
    if notify is None:
        notify = not is_two_phase(connection)
    strict = on_conflict == "raise"
    if tracer.active is None:
        return insert(jobs, notify=notify, raise_on_conflict=strict)
    return enqueue_traced(tracer.active, jobs, notify=notify, raise_on_conflict=strict)
