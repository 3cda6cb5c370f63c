"""What a test wants to happen right after each enqueue, on the connection it was made on: see
:func:`pgqueue.testing.inline`. Otherwise nothing."""

from collections.abc import Awaitable, Callable
from typing import Any

Now = Callable[[Any], None]
NowAsync = Callable[[Any], Awaitable[None]]


class _Eager:
    """Set and unset by tests, in one process."""

    def __init__(self) -> None:
        self.now: Now | None = None
        self.now_async: NowAsync | None = None


eager = _Eager()


def run_eagerly(connection: Any) -> None:
    """Jobs were enqueued on this connection."""
    if eager.now is not None:
        eager.now(connection)


async def run_eagerly_async(connection: Any) -> None:
    """:func:`run_eagerly` for an asynchronous connection."""
    if eager.now_async is not None:
        await eager.now_async(connection)
