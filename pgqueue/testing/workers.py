"""Real workers for tests: in this process, or in one of their own that can be killed, or die at a
certain place."""

import asyncio
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

from pgqueue import failpoints
from pgqueue.errors import PgqueueError
from pgqueue.failpoints import Point
from pgqueue.tasks import Tasks
from pgqueue.worker import Settings, Worker

_STARTS_WITHIN = 60.0
_STOPS_WITHIN = 40.0


class WorkerProcess:
    """``pgqueue worker`` as a process of its own, for as long as a ``with`` lasts.

    *tasks* is the path that the command wants (``"myapp.jobs:tasks"``; what this process can
    import, that one can), *arguments* are options of the command. With *dies* it is killed when it
    comes to that place for the first time (of several ``--processes`` the one that does). It ends
    with this process, whatever happens."""

    def __init__(
        self,
        tasks: str,
        dsn: str,
        *arguments: str,
        dies: Point | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        if dies is not None:
            failpoints.check(dies)
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  closed by stop()
        self._token: Path | None = None
        given = {"PGQUEUE_DSN": dsn, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        if dies is not None:
            handle, token = tempfile.mkstemp(prefix="pgqueue-alive-")
            os.close(handle)
            self._token = Path(token)
            given |= {failpoints.AT: dies, failpoints.TOKEN: token}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pgqueue.cli", "worker", tasks, *arguments],
            env={**os.environ, **given, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )
        # A shell that stops the worker when we are gone, for then our end of its pipe is closed.
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", 'read _; kill "$0"', str(self._process.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; that of a killed process is -9."""
        return self._process.poll()

    @property
    def log(self) -> str:
        """What it has logged so far, until it is stopped."""
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), size, 0).decode(errors="replace")

    @property
    def has_died(self) -> bool:
        """Whether it, or one of its processes, came to the place where it was to die."""
        return self._token is not None and not self._token.exists()

    def kill(self) -> None:
        """Kill it, as a machine that loses its power."""
        self._process.kill()
        self._process.wait()

    def wait(self, timeout: float) -> int:
        """Wait until it ends by itself, so many seconds at most; return its exit code."""
        _wait_for(lambda: self.exit_code is not None, timeout, lambda: f"runs on\n{self.log}")
        return self._process.wait()

    def wait_for_death(self, timeout: float = _STARTS_WITHIN) -> None:
        """Wait until it has died where it was to die."""

        def ended() -> bool:
            return self.has_died or self.exit_code is not None

        _wait_for(ended, timeout, lambda: f"never came to where it was to die\n{self.log}")
        if not self.has_died:
            raise PgqueueError(
                f"the worker ended with exit code {self.exit_code}, not where it was to die\n"
                f"{self.log}"
            )

    def stop(self) -> None:
        """Stop it as a deployment would; kill it if that takes too long."""
        if self.exit_code is None:
            self._process.terminate()
            try:
                self._process.wait(_STOPS_WITHIN)
            except subprocess.TimeoutExpired:
                self.kill()
        self._guard.kill()
        self._guard.communicate()
        self._log.close()
        if self._token is not None:
            self._token.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def crash_worker(tasks: str, dsn: str, at: Point, *arguments: str, timeout: float = 60.0) -> None:
    """Run a worker process until it dies at this place, as by SIGKILL: ``"after claim"``,
    ``"before commit"`` or ``"after commit"``. There must be a job for it.

    What it held is taken back once its lease is over: *arguments* such as ``"--lease", "2s"`` make
    that soon. Another worker must run for it.
    """
    with WorkerProcess(tasks, dsn, *arguments, dies=at) as worker:
        worker.wait_for_death(timeout)
        if "--processes" not in arguments:
            worker.wait(timeout)


class WorkerThread:
    """A worker in this process, on an event loop in a thread of its own, for as long as a ``with``
    lasts. It runs the very functions that the test knows, faked ones as well.

    *settings* are fields of :class:`~pgqueue.worker.Settings`; the grace is 5 s."""

    def __init__(self, tasks: Tasks, dsn: str, **settings: Any) -> None:
        self._worker = Worker(tasks, dsn, Settings(**{"grace": timedelta(seconds=5), **settings}))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._code: int | None = None
        self._thread = threading.Thread(target=self._run, name="pgqueue-test-worker", daemon=True)

    def start(self) -> Self:
        """Start it; return when it claims jobs."""
        self._thread.start()

        def is_known() -> bool:
            return self._worker.is_ready or not self._thread.is_alive()

        _wait_for(is_known, _STARTS_WITHIN, lambda: "did not start")
        if not self._thread.is_alive():
            raise PgqueueError(f"the worker ended with exit code {self._code}; its log says why")
        return self

    def stop(self) -> None:
        """Stop it as a deployment would."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed: it has ended by itself
                self._loop.call_soon_threadsafe(self._worker.stop)
        self._thread.join(_STOPS_WITHIN)
        if self._thread.is_alive():
            raise PgqueueError(f"within {_STOPS_WITHIN:g} s the worker did not stop")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self) -> None:
        async def work() -> int:
            self._loop = asyncio.get_running_loop()
            return await self._worker.run()

        self._code = asyncio.run(work())


def _wait_for(condition: Callable[[], bool], seconds: float, problem: Callable[[], str]) -> None:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise PgqueueError(f"within {seconds:g} s the worker {problem()}")
        time.sleep(0.01)
