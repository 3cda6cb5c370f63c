"""One reading for all who ask at once, or soon after."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from pgqueue.metrics.reading import Reading


class Shared:
    """Reads when asked, one reading at a time: whoever asks meanwhile gets the same one, and so
    does, for *lasts* seconds after its end, whoever asks then. A client that goes away while it is
    read takes it from nobody."""

    def __init__(self, read: Callable[[], Awaitable[Reading]], *, lasts: float = 0.0) -> None:
        self._read = read
        self._lasts = lasts
        self._task: asyncio.Task[Reading] | None = None
        self._read_at = 0.0

    async def read(self) -> Reading:
        """Return a reading that is no older than that."""
        if self._task is None or (
            self._task.done() and time.monotonic() - self._read_at >= self._lasts
        ):
            self._task = asyncio.create_task(self._run())
        return await asyncio.shield(self._task)

    async def _run(self) -> Reading:
        try:
            return await self._read()
        finally:
            self._read_at = time.monotonic()
