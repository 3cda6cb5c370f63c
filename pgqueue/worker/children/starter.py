"""Starts process children, and does not go on trying when they cannot start."""

import asyncio
import logging
import os
import sys
from collections.abc import Callable

from pgqueue.backoff import Exponential
from pgqueue.errors import PgqueueError
from pgqueue.worker.children import forwarding
from pgqueue.worker.children.channel import Answer, Failed, Hello, Ready
from pgqueue.worker.children.spawned import Child

log = logging.getLogger("pgqueue.worker")


class ChildStartError(PgqueueError):
    """A process child could not be started, or does not have what it is to run."""

    def __init__(self, path: str, problem: str) -> None:
        self.path = path
        super().__init__(f"no process child can run {path}: {problem}")


class Starter:
    """Starts children for the tasks at *path*, which have *timeout* seconds to import them.

    After a failure the next start waits: 1 s, 2 s and so on up to 30 s, until a job was run.
    """

    def __init__(self, path: str, *, memory_mb: int | None, timeout: float) -> None:
        self._path = path
        self._memory_mb = memory_mb
        self._timeout = timeout
        self._backoff = Exponential(base=1, max_delay=30, jitter=0)
        self._failures = 0
        self._not_before = 0.0

    async def wait(self) -> None:
        """Wait until a start may be tried."""
        pause = self._not_before - asyncio.get_running_loop().time()
        if pause > 0:
            await asyncio.sleep(pause)

    def spawn(self, on_gone: Callable[[Child], None]) -> Child:
        """Start a process. Raises :class:`ChildStartError`."""
        try:
            return Child(self._path, on_gone)
        except OSError as error:
            raise self.failed(f"its process could not be started: {error}") from error

    async def prepare(self, child: Child) -> None:
        """Have *child* import the tasks. Raises :class:`ChildStartError`, and it is dead."""
        failures = self._failures
        answer: Answer | None
        try:
            async with asyncio.timeout(self._timeout):
                answer = await child.greet(self._hello())
        except TimeoutError:
            answer = Failed(f"importing it took longer than {self._timeout:g} s")
        if isinstance(answer, Ready):
            return
        death = await child.reap()
        if not isinstance(answer, Failed):
            answer = Failed(f"it died while starting: {death}")
        if self._failures == failures:
            raise self.failed(answer.problem, answer.traceback)
        # Another one that was started at the same time has said so already.
        raise ChildStartError(self._path, answer.problem)

    def failed(self, problem: str, traceback: str | None = None) -> ChildStartError:
        """Log *problem*, and keep the next start waiting."""
        self._failures += 1
        pause = self._backoff(self._failures)
        self._not_before = asyncio.get_running_loop().time() + pause
        error = ChildStartError(self._path, problem)
        details = f"\n{traceback.rstrip()}" if traceback else ""
        log.error("%s; its jobs are given back, next try in %g s%s", error, pause, details)
        return error

    def succeeded(self) -> None:
        """Take note that a job was run."""
        self._failures = 0

    def _hello(self) -> Hello:
        sys_path = [entry or os.getcwd() for entry in sys.path]
        return Hello(self._path, sys_path, self._memory_mb, forwarding.levels())
