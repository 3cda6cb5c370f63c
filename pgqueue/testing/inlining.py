"""Run jobs where they are enqueued, for tests that want to see nothing of a queue."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pgqueue.context import current_job
from pgqueue.errors import PgqueueError
from pgqueue.storage.eager import eager
from pgqueue.tasks import Tasks
from pgqueue.testing.draining import drain, drain_async
from pgqueue.testing.values import Attempt


@contextmanager
def inline(
    tasks: Tasks, *, raise_errors: bool = True, state: Any = None
) -> Iterator[list[Attempt]]:
    """While this lasts, every enqueue in this process is followed by a :func:`drain` of its
    connection, before it returns; the list has the attempts that were run.

    So the caller sees the job's effects at once, and with *raise_errors* the handler's error, which
    in production it never does. Jobs with a delay, and attempts put back by a backoff, wait for a
    drain with ``until=``. What a job enqueues runs after it, not inside it. A connection that
    commits each statement is refused, and what plain SQL enqueues runs with the next enqueue.
    """
    attempts: list[Attempt] = []

    def now(connection: Any) -> None:
        if not _is_in_handler():
            drained = drain(connection, tasks, raise_errors=raise_errors, state=state)
            attempts.extend(drained.attempts)

    async def now_async(connection: Any) -> None:
        if not _is_in_handler():
            drained = await drain_async(connection, tasks, raise_errors=raise_errors, state=state)
            attempts.extend(drained.attempts)

    before = eager.now, eager.now_async
    eager.now, eager.now_async = now, now_async
    try:
        yield attempts
    finally:
        eager.now, eager.now_async = before


def _is_in_handler() -> bool:
    try:
        current_job()
    except PgqueueError:
        return False
    return True
