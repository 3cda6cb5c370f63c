"""Record calls of a task instead of running its handler."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pgqueue.tasks import Task


@contextmanager
def fake(
    task: Task[..., Any], *, returns: Any = None, raises: BaseException | None = None
) -> Iterator[list[dict[str, Any]]]:
    """While this lasts, calls of *task* are put in a list, as their arguments by name; each returns
    *returns*, or raises *raises*.

    However it is called: by a drain, a worker in this process, or directly. A worker in another
    process has a handler of its own.

    >>> with fake(send_email) as calls:                                 # doctest: +SKIP
    ...     drain(connection, tasks)
    >>> assert calls == [{"user_id": "123", "template_id": "welcome"}]  # doctest: +SKIP
    """
    calls: list[dict[str, Any]] = []
    takes_context = task.signature.takes_context

    def record(*args: Any, **kwargs: Any) -> Any:
        calls.append(task.signature.bind(args[1:] if takes_context else args, kwargs))
        if raises is not None:
            raise raises
        return returns

    async def record_async(*args: Any, **kwargs: Any) -> Any:
        return record(*args, **kwargs)

    handler = task.function
    task.function = record_async if task.executor == "async" else record
    try:
        yield calls
    finally:
        task.function = handler
