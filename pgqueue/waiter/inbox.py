"""Where the lookout's thread puts what it sees, and whoever waits takes it out."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Generic, TypeVar

from pgqueue.storage.waiting import BatchReading, Reading

R = TypeVar("R", Reading, BatchReading)


class Inbox(Generic[R]):
    """News of some jobs or batches, for one wait that ends at *deadline* (of the monotonic clock).

    *kind* is how they are read. ``receive`` and ``fail`` are called by the lookout's thread alone,
    the rest by whoever waits.
    """

    def __init__(self, kind: type[R], ids: Iterable[int], deadline: float) -> None:
        self.kind: type[Any] = kind
        self.pending = set(ids)
        """Those of which more news may come. The lookout's."""
        self.deadline = deadline
        self.closed = False
        """Whether nobody wants more news. A plain flag, for it is also set by the collector."""
        self.error: Exception | None = None
        self._last: dict[int, R | None] = {}
        self._news: deque[tuple[int, R | None]] = deque()
        self._wake: Callable[[], None] = lambda: None
        self._event = threading.Event()
        self._event_async = asyncio.Event()

    @property
    def is_wanted(self) -> bool:
        return not self.closed and bool(self.pending) and time.monotonic() < self.deadline

    def receive(self, readings: Mapping[int, R]) -> None:
        """Take note of what was read; keep what has changed, and wake who waits."""
        changed = False
        for each in list(self.pending):
            reading = readings.get(each)
            if each in self._last and self._last[each] == reading:
                continue
            is_gone = reading is None and each in self._last
            if is_gone or (reading is not None and reading.is_over):
                self.pending.discard(each)
            self._last[each] = reading
            self._news.append((each, reading))
            changed = True
        if changed:
            self._wake()

    def fail(self, error: Exception) -> None:
        """No news will come any more."""
        self.error = error
        self.pending.clear()
        self._wake()

    def take(self) -> tuple[int, R | None] | None:
        """Return the next news, if there is some: an id, and what was read (``None``: it is in no
        table). Raises what the lookout failed with."""
        with suppress(IndexError):
            return self._news.popleft()
        if self.error is not None:
            raise self.error
        return None

    def is_late(self) -> bool:
        return time.monotonic() >= self.deadline

    def be_woken(self) -> None:
        """Have this thread woken out of :meth:`wait`."""
        self._wake = self._event.set

    def be_woken_async(self) -> None:
        """Have a coroutine of the running loop woken out of :meth:`wait_async`."""
        loop = asyncio.get_running_loop()

        def wake() -> None:
            with suppress(RuntimeError):  # the loop is closed, and nobody waits in it
                loop.call_soon_threadsafe(self._event_async.set)

        self._wake = wake

    def wait(self) -> None:
        """Return when there is news, or it is too late for any."""
        self._event.wait(max(0.0, self.deadline - time.monotonic()))
        self._event.clear()

    async def wait_async(self) -> None:
        """:meth:`wait` in a coroutine."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, self.deadline - time.monotonic())):
                await self._event_async.wait()
        self._event_async.clear()
