"""Run in a test what workers would run: on the test's connection, in its transaction."""

import asyncio
import contextvars
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, TypeVar

from pgqueue.storage.drivers import require_transaction, require_transaction_async, unscoped
from pgqueue.tasks import Tasks
from pgqueue.testing.desks import AsyncDesk, SyncDesk
from pgqueue.testing.rehearsing import Rehearsal
from pgqueue.testing.values import Drained

T = TypeVar("T")


def drain(
    connection: Any,
    tasks: Tasks,
    *,
    until: timedelta | None = None,
    limit: int | None = None,
    queues: Sequence[str] | None = None,
    raise_errors: bool = True,
    state: Any = None,
) -> Drained:
    """Run the available jobs of *tasks*, and those that these enqueue, one after the other: by
    priority, then time. Return what was run.

    All of it happens in the transaction that *connection* is in (any that :func:`pgqueue.enqueue`
    takes), and is gone when that is rolled back. Jobs are claimed, run and finished by the code of
    the worker, so retries, dead letter, ``on_dead_task``, batches and their callbacks, hooks and
    middleware are those of production. A transaction of a handler (``ctx.session``) is a savepoint
    on *connection* itself: give what ``Tasks(transaction=...)`` would give, connection or session.

    *until*: run also what delays, backoff and schedules (those that *tasks* declare, too) make due
    within so much time, at their times, in their order. The clock stands still while something
    runs, and goes on by leaps; from then on it is that late in this transaction, for the
    application's own ``now()`` as well, and the next drain begins there. Python's clock is left
    alone.

    Tests side by side on one database wait for each other's end if they move the clock over the
    same declared schedules, or if the tasks are not written down there yet (``pgqueue sync`` does
    that).

    *limit*: stop after so many attempts. *queues*: only these; all by default. *raise_errors*:
    raise what a handler raised, once its outcome is written; False: go on, it is in the answer.
    *state* is ``ctx.state``; without it the lifespan of *tasks* is entered. Process tasks run in a
    thread of this process.
    """
    require_transaction(connection)
    desk = SyncDesk(unscoped(connection))
    rehearsal = _rehearsal(desk, tasks, limit, queues, raise_errors, state)
    return _run_here(rehearsal.run(until))


async def drain_async(
    connection: Any,
    tasks: Tasks,
    *,
    until: timedelta | None = None,
    limit: int | None = None,
    queues: Sequence[str] | None = None,
    raise_errors: bool = True,
    state: Any = None,
) -> Drained:
    """:func:`drain` on an asynchronous connection or session, on the running event loop."""
    await require_transaction_async(connection)
    desk = AsyncDesk(unscoped(connection))
    return await _rehearsal(desk, tasks, limit, queues, raise_errors, state).run(until)


def _rehearsal(
    desk: SyncDesk | AsyncDesk,
    tasks: Tasks,
    limit: int | None,
    queues: Sequence[str] | None,
    raise_errors: bool,
    state: Any,
) -> Rehearsal:
    return Rehearsal(
        desk, tasks, queues=queues, limit=limit, raise_errors=raise_errors, state=state
    )


def _run_here(work: Coroutine[Any, Any, T]) -> T:
    """Run *work* to its end; in a thread of its own, if an event loop runs in this one."""
    if not _is_loop_running():
        return _run(work)
    context = contextvars.copy_context()
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(context.run, _run, work).result()


def _is_loop_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _run(work: Coroutine[Any, Any, T]) -> T:
    # With a loop of its own making a Runner leaves the thread's event loop as it was.
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        return runner.run(work)
