"""The application's lifespan: started before any job, ended after all, and never waited for without
end."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

import pgqueue
from pgqueue import Context, Tasks
from pgqueue.worker import Settings, Worker
from pgqueue.worker import life as life_module
from tests.process import Stage

Lifespan = Callable[[], contextlib.AbstractAsyncContextManager[Any]]
NOW = Settings(grace=timedelta(0))


async def for_ever() -> None:
    await asyncio.Event().wait()


async def fail() -> None:
    raise ValueError("no such host")


async def nothing() -> None: ...


def lifespan(
    start: Callable[[], Coroutine[Any, Any, None]] = nothing,
    end: Callable[[], Coroutine[Any, Any, None]] = nothing,
) -> Lifespan:
    @contextlib.asynccontextmanager
    async def around() -> AsyncIterator[str]:
        await start()
        yield "state"
        await end()

    return around


hangs_at_start = Tasks(lifespan=lifespan(start=for_ever))
hangs_at_end = Tasks(lifespan=lifespan(end=for_ever))


def test_a_job_sees_what_the_lifespan_yielded_and_ends_before_it(dsn: str) -> None:
    seen: list[str] = []

    async def end() -> None:
        seen.append("end")

    async def start() -> None:
        seen.append("start")

    tasks = Tasks(lifespan=lifespan(start, end))

    @tasks.task("see")
    async def see(ctx: Context) -> None:
        seen.append(ctx.state)

    with psycopg.connect(dsn) as connection:
        pgqueue.enqueue(connection, see.job())

    async def work() -> None:
        async with Worker(tasks, dsn), asyncio.timeout(20):
            while len(seen) < 2:
                await asyncio.sleep(0.01)

    asyncio.run(work())
    assert seen == ["start", "state", "end"]


def test_a_lifespan_may_hold_a_task_group(dsn: str) -> None:
    """It is left in the task that entered it."""

    @contextlib.asynccontextmanager
    async def grouped() -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group, asyncio.timeout(60):
            background = group.create_task(for_ever())
            yield
            background.cancel()

    async def work() -> int:
        worker = Worker(Tasks(lifespan=grouped), dsn, NOW)
        running = asyncio.create_task(worker.run())
        async with asyncio.timeout(20):
            while not worker.is_ready:
                await asyncio.sleep(0.01)
            worker.stop()
            return await running

    assert asyncio.run(work()) == 0


@pytest.mark.parametrize("tasks", ["hangs_at_start", "hangs_at_end"])
def test_a_lifespan_that_hangs_does_not_outlive_a_signal(
    dsn: str, tmp_path: Path, tasks: str
) -> None:
    with Stage(dsn, tmp_path) as stage:
        worker = stage.start(tasks=f"tests.test_life:{tasks}")
        if tasks == "hangs_at_end":
            stage.ready(worker)
        else:
            stage.until(
                lambda: stage.value(
                    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgqueue:pump'"
                    " AND datname = current_database() AND query LIKE '%%make_partitions%%'"
                )
            )
        worker.terminate()
        assert worker.wait(within=20) == 0
        assert "Traceback" not in worker.log


def test_a_second_signal_ends_a_lifespan_at_once(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(life_module, "_END_WITHIN", 60.0)

    async def work() -> tuple[int, float]:
        worker = Worker(hangs_at_end, dsn, NOW)
        running = asyncio.create_task(worker.run())
        async with asyncio.timeout(20):
            while not worker.is_ready:
                await asyncio.sleep(0.01)
            began = time.monotonic()
            worker.stop()
            worker.stop()
            return await running, time.monotonic() - began

    code, took = asyncio.run(work())
    assert code == 0
    assert took < 15


@pytest.mark.parametrize("when", ["start", "end"])
def test_a_lifespan_that_raises_is_a_bug_that_is_said_once(
    dsn: str, when: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> int:
        worker = Worker(Tasks(lifespan=lifespan(**{when: fail})), dsn, NOW)
        running = asyncio.create_task(worker.run())
        async with asyncio.timeout(20):
            while not worker.is_ready and not running.done():
                await asyncio.sleep(0.01)
            worker.stop()
            return await running

    assert asyncio.run(work()) == 70
    (line,) = [record for record in caplog.records if record.levelname == "CRITICAL"]
    assert "ValueError: no such host" in line.getMessage()


def test_a_lifespan_that_breaks_while_the_worker_runs_ends_it(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    go_on = asyncio.Event()

    @contextlib.asynccontextmanager
    async def breaking() -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            group.create_task(break_down())
            yield

    async def break_down() -> None:
        await go_on.wait()
        raise ValueError("the pool is gone")

    async def work() -> int:
        worker = Worker(Tasks(lifespan=breaking), dsn, NOW)
        running = asyncio.create_task(worker.run())
        async with asyncio.timeout(20):
            while not worker.is_ready:
                await asyncio.sleep(0.01)
            go_on.set()
            return await running

    assert asyncio.run(work()) == 70
    assert "while the worker ran" in caplog.text


def test_an_embedded_worker_raises_what_its_lifespan_raised(dsn: str) -> None:
    async def work() -> None:
        async with Worker(Tasks(lifespan=lifespan(start=fail)), dsn):
            raise AssertionError("never started")

    with pytest.raises(pgqueue.PgqueueError, match="no such host") as raised:
        asyncio.run(work())
    assert isinstance(raised.value.__cause__, ValueError)
