"""What the tests of process children share: a crew to run jobs in, and an ear for what it logs."""

import asyncio
import contextlib
import functools
import logging
import os
import subprocess
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

from pgqueue.context import JobFields, Stop
from pgqueue.job import Job
from pgqueue.outcome import Outcome, Succeeded
from pgqueue.worker.children import Children
from tests.child_tasks import tasks

MOMENT = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Ear(logging.Handler):
    """Keeps what is logged, and can be waited on for more."""

    def __init__(self) -> None:
        super().__init__()
        self.addFilter(JobFields())
        self.records: list[logging.LogRecord] = []
        self._changed = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        self._changed.set()

    async def hear(self, text: str) -> str:
        """Wait for a message that contains *text*, and return it."""
        async with asyncio.timeout(30):
            while True:
                for record in self.records:
                    if text in record.getMessage():
                        return record.getMessage()
                self._changed.clear()
                await self._changed.wait()

    async def hear_pid(self, text: str = "running in") -> int:
        return int((await self.hear(text)).split()[-1])


class Crew:
    """Process children, and what was logged in their time."""

    def __init__(self, children: Children, ear: Ear) -> None:
        self.children = children
        self.records = ear.records
        self.hear = ear.hear
        self.hear_pid = ear.hear_pid

    async def run(self, job: Job, stop: Stop | None = None) -> Outcome:
        async with asyncio.timeout(60):
            return await self.children.run(tasks[job.task], job, stop or Stop())

    async def value(self, task: str, **arguments: Any) -> Any:
        """Run a job that succeeds, and return its result."""
        outcome = await self.run(make(task, **arguments))
        assert isinstance(outcome, Succeeded), outcome
        return None if outcome.result is None else tasks[task].codec.loads(outcome.result)

    def errors(self) -> list[str]:
        return [r.getMessage() for r in self.records if r.levelno >= logging.ERROR]


@contextlib.asynccontextmanager
async def hire(**options: Any) -> AsyncIterator[Crew]:
    ear, root = Ear(), logging.getLogger()
    level = root.level
    root.addHandler(ear)
    root.setLevel(logging.INFO)
    defaults: dict[str, Any] = {
        "path": "tests.child_tasks:tasks",
        "size": 1,
        "max_jobs": 100,
        "memory_mb": None,
    }
    children = Children(**defaults | options)
    try:
        yield Crew(children, ear)
    finally:
        async with asyncio.timeout(30):
            await children.close()
        root.setLevel(level)
        root.removeHandler(ear)


def make(task: str, timeout: float | None = 60.0, id: int = 1, **arguments: Any) -> Job:
    return Job(
        id=id,
        attempt=1,
        queue="default",
        task=task,
        priority=0,
        run_at=MOMENT,
        created_at=MOMENT,
        failures=0,
        crashes=0,
        max_attempts=5,
        max_crashes=3,
        timeout_ms=None if timeout is None else int(timeout * 1000),
        actor=None,
        args=tasks[task].codec.dumps(arguments, what="args"),
        metadata=None,
    )


def played(story: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make a test of a coroutine function."""

    @functools.wraps(story)
    def test(*args: Any, **kwargs: Any) -> None:
        asyncio.run(story(*args, **kwargs))

    return test


def is_running(pid: int) -> bool:
    with subprocess.Popen(
        ["ps", "-o", "stat=", "-p", str(pid)], stdout=subprocess.PIPE, text=True
    ) as ps:
        state, _ = ps.communicate()
    return bool(state.strip()) and not state.startswith("Z")


def own_children() -> set[int]:
    """The processes this one started, zombies included."""
    with subprocess.Popen(
        ["ps", "-A", "-o", "ppid=,pid="], stdout=subprocess.PIPE, text=True
    ) as ps:
        listing, _ = ps.communicate()
    pairs = (map(int, line.split()) for line in listing.splitlines())
    return {pid for parent, pid in pairs if parent == os.getpid()} - {ps.pid}


async def vanishes(pid: int) -> bool:
    """Whether the process is gone within 10 s."""
    with contextlib.suppress(TimeoutError):
        await until(lambda: not is_running(pid))
    return not is_running(pid)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)
