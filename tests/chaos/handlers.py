"""The tasks of a run. Each start is logged before anything else, and each outcome names the attempt
it came from, so that a stale one shows."""

import asyncio
import contextlib
import ctypes
import hashlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from psycopg import AsyncConnection, IsolationLevel

from pgqueue import Context, Fixed, Snooze, Tasks, current_job
from tests.chaos.logbook import Logbook, now

HOME = "PGQUEUE_CHAOS_HOME"
PROCESS = "PGQUEUE_CHAOS_PROCESS"

process = os.environ.get(PROCESS, "")
_log: Logbook | None = None


def log() -> Logbook:
    """The log of this process: opened once, and inherited by no one."""
    global _log
    if _log is None:
        _log = Logbook(Path(os.environ[HOME]), "handlers", durable=False)
    return _log


def begin() -> dict[str, int]:
    """Log the start; return the result of the job."""
    context = current_job()
    log().write("start", job_id=context.id, attempt=context.attempt, process=process, at=now())
    return {"attempt": context.attempt}


@contextlib.asynccontextmanager
async def application_connection() -> AsyncIterator[AsyncConnection[Any]]:
    connection = await AsyncConnection.connect(
        os.environ["PGQUEUE_DSN"], application_name=f"pgqueue@{process}"
    )
    try:
        level = current_job().metadata.get("isolation", "READ_COMMITTED")
        await connection.set_isolation_level(IsolationLevel[level])
        yield connection
    finally:
        await connection.close()


tasks = Tasks(transaction=application_connection)
often: dict[str, Any] = {"max_crashes": 50, "timeout": 60}


@tasks.task("quick", **often)
async def quick() -> dict[str, int]:
    return begin()


@tasks.task("nap", **often)
async def nap(seconds: float) -> dict[str, int]:
    result = begin()
    await asyncio.sleep(seconds)
    return result


@tasks.task("thread", **often)
def thread(seconds: float) -> dict[str, int]:
    result = begin()
    time.sleep(seconds)
    return result


@tasks.task("child", executor="process", queue="children", **often)
def child(seconds: float) -> dict[str, int]:
    result = begin()
    time.sleep(seconds)
    return result


@tasks.task("effect", transactional=True, max_attempts=50, **often)
async def effect(ctx: Context, seconds: float) -> dict[str, int]:
    result = begin()
    await ctx.connection.execute("INSERT INTO chaos.effect VALUES (%s, %s)", (ctx.id, ctx.attempt))
    await asyncio.sleep(seconds)
    return result


@tasks.task("effect-of-chunk", transactional=True, max_attempts=50, **often)
async def effect_of_chunk(
    ctx: Context, items: list[int], chunk_index: int, total_chunks: int
) -> dict[str, int]:
    result = begin()
    await ctx.connection.execute("INSERT INTO chaos.effect VALUES (%s, %s)", (ctx.id, ctx.attempt))
    return result


@tasks.task("flaky", max_attempts=4, backoff=Fixed(1), **often)
async def flaky() -> dict[str, int]:
    """Fails at every second start or so; some die of it."""
    result = begin()
    context = current_job()
    if hashlib.sha256(f"{context.id} {context.attempt}".encode()).digest()[0] % 2:
        raise ValueError(f"in attempt {context.attempt}")
    return result


@tasks.task("snoozer", **often)
async def snoozer() -> dict[str, int]:
    result = begin()
    if result["attempt"] == 1:
        raise Snooze(1)
    return result


@tasks.task("mortal", max_crashes=2, timeout=60)
async def mortal(seconds: float) -> dict[str, int]:
    """Dead after two vanished workers."""
    result = begin()
    await asyncio.sleep(seconds)
    return result


@tasks.task("ticked", **often)
async def ticked() -> dict[str, int]:
    return begin()


@tasks.task("told", **often)
async def told() -> dict[str, int]:
    return begin()


@tasks.task("block", **often)
async def block(seconds: float) -> dict[str, int]:
    """Block the event loop; the heartbeat does not mind."""
    result = begin()
    began = now()
    if result["attempt"] > 1:
        return result
    time.sleep(seconds)  # noqa: ASYNC251  the fault itself
    log().write("fault", kind="event loop blocked", targets=[""], began=began, ended=now())
    return result


@tasks.task("hog", **often)
def hog(seconds: float) -> dict[str, int]:
    """Hold the interpreter's lock, as a bad C extension does: no thread of this process runs."""
    result = begin()
    if result["attempt"] > 1:
        return result
    began = now()
    log().write("fault", kind="GIL held", targets=[process], began=began, ended=began + seconds + 1)
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))
    return result
