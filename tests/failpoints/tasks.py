"""What the workers of a run do: every kind of job, each as short as can be. Results and errors name
the attempt, so that a stale one shows. Process children import this: it imports little."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
from psycopg import AsyncConnection, IsolationLevel
from psycopg.conninfo import make_conninfo

import pgqueue
from pgqueue import Context, Fail, Fixed, Snooze, Tasks, current_job
from tests.chaos.handlers import HOME, PROCESS
from tests.chaos.logbook import Logbook, now

often: dict[str, Any] = {
    "max_crashes": 20,
    "max_attempts": 20,
    "timeout": 30,
    "backoff": Fixed(0.2),
}


def begin() -> dict[str, int]:
    """Log the start; return the result of the job."""
    context = current_job()
    _log().write(
        "start",
        job_id=context.id,
        attempt=context.attempt,
        process=os.environ[PROCESS],
        at=now(),
    )
    return {"attempt": context.attempt}


@cache
def _log() -> Logbook:
    return Logbook(Path(os.environ[HOME]), "handlers", durable=False)


def _dsn(role: str) -> str:
    return make_conninfo(os.environ["PGQUEUE_DSN"], application_name=role)


@contextlib.asynccontextmanager
async def asynchronous() -> AsyncIterator[AsyncConnection[Any]]:
    level = current_job().metadata.get("isolation", "READ_COMMITTED")
    role = "handler" if level == "READ_COMMITTED" else f"handler {level.lower()}"
    connection = await AsyncConnection.connect(_dsn(role))
    try:
        await connection.set_isolation_level(IsolationLevel[level])
        yield connection
    finally:
        await connection.close()


@contextlib.contextmanager
def session() -> Iterator[Any]:
    from sqlalchemy.orm import Session

    with Session(_engine()) as session:
        yield session


@cache
def _engine() -> Any:
    from sqlalchemy import create_engine

    dsn = _dsn("handler session")
    return create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(dsn))


def transaction() -> Any:
    """What the handler wants, by its kind."""
    return session() if current_job().task == "effect-of-session" else asynchronous()


tasks = Tasks(transaction=transaction)


@tasks.task("quick", **often)
async def quick() -> dict[str, int]:
    return begin()


@tasks.task("thread", **often)
def thread() -> dict[str, int]:
    result = begin()
    time.sleep(0.05)
    return result


@tasks.task("child", executor="process", queue="children", **often)
def child() -> dict[str, int]:
    return begin()


@tasks.task("child-that-vanishes", executor="process", queue="children", **often)
def vanish() -> dict[str, int]:
    result = begin()
    if result["attempt"] == 1:
        os._exit(9)
    return result


@tasks.task("effect", transactional=True, **often)
async def effect(ctx: Context) -> dict[str, int]:
    result = begin()
    ctx.log.info("working")
    await ctx.connection.execute("INSERT INTO chaos.effect VALUES (%s, %s)", (ctx.id, ctx.attempt))
    if ctx.metadata["isolation"] == "SERIALIZABLE":
        await asyncio.sleep(0.8)  # its row is locked: a renewal comes upon that
    return result


@tasks.task("effect-of-session", transactional=True, **often)
def effect_of_session(ctx: Context) -> dict[str, int]:
    result = begin()
    ctx.session.connection().exec_driver_sql(
        "INSERT INTO chaos.effect VALUES (%s, %s)", (ctx.id, ctx.attempt)
    )
    return result


@tasks.task("effect-of-chunk", transactional=True, **often)
async def effect_of_chunk(
    ctx: Context, items: list[int], chunk_index: int, total_chunks: int
) -> dict[str, int]:
    result = begin()
    await ctx.connection.execute("INSERT INTO chaos.effect VALUES (%s, %s)", (ctx.id, ctx.attempt))
    return result


@tasks.task("outsider", **often)
async def outsider(ctx: Context) -> dict[str, int]:
    """Does something outside that must not be done twice. What nobody knows of, a person decides:
    then the job is dead."""
    result = begin()
    async with ctx.once("outside") as first:
        if first:
            _log().write("outside", job_id=ctx.id, attempt=ctx.attempt)
    return result


@tasks.task("failing", **often)
async def failing() -> dict[str, int]:
    result = begin()
    if result["attempt"] == 1:
        raise ValueError("in attempt 1")
    return result


@tasks.task("doomed", **often)
async def doomed() -> None:
    result = begin()
    raise Fail(f"in attempt {result['attempt']}")


@tasks.task("snoozer", **often)
async def snoozer() -> dict[str, int]:
    result = begin()
    if result["attempt"] == 1:
        raise Snooze(0.2)
    return result


@tasks.task("cancelled", **often)
async def cancelled(ctx: Context) -> dict[str, int]:
    """Asks for its own end, as a person would, and waits for it."""
    result = begin()

    def cancel() -> None:
        with psycopg.connect(_dsn("person"), autocommit=True) as connection:
            pgqueue.cancel(connection, ctx.id, actor="person")

    await asyncio.to_thread(cancel)
    await asyncio.sleep(20)
    return result


@tasks.task("speaker", **often)
async def speaker(ctx: Context) -> dict[str, int]:
    """Leaves word for the next attempt, which must have it."""
    result = begin()
    said = ctx.last_checkpoint
    ctx.progress(result["attempt"], 10)
    ctx.log.info("attempt %s", result["attempt"])
    ctx.checkpoint({"after": result["attempt"]})
    if said is None:
        raise ValueError(f"in attempt {result['attempt']}")
    return result


@tasks.task("long", **often)
async def long(ctx: Context) -> dict[str, int]:
    """Goes on until its worker is stopped; the next one finds little to do."""
    result = begin()
    if result["attempt"] == 1:
        await asyncio.sleep(25)
    return result


@tasks.cron(name="declared", every=2, overlap="allow")
@tasks.task("ticked", **often)
async def ticked() -> dict[str, int]:
    return begin()


@tasks.task("told", **often)
async def told() -> dict[str, int]:
    return begin()
