"""The pump beside trouble: outcomes that cannot be stored, rows that somebody holds."""

import asyncio
from collections.abc import Awaitable, Callable

import psycopg
import pytest

import pgqueue
from pgqueue import Tasks
from pgqueue.worker import Settings, Worker

tasks = Tasks()


@tasks.task("echo", max_attempts=1)
async def echo(value: str) -> str:
    return value


@tasks.task("fails", max_attempts=1)
async def fails(value: str) -> None:
    raise ValueError(value)


async def drained(dsn: str, *, within: float = 20.0) -> None:
    """Wait until nothing is left to run."""

    async def is_empty(connection: psycopg.AsyncConnection) -> bool:
        cursor = await connection.execute("SELECT count(*) FROM pgqueue.jobs WHERE state <> 'dead'")
        row = await cursor.fetchone()
        return row is not None and row[0] == 0

    await until(dsn, is_empty, within=within)


async def until(
    dsn: str,
    condition: Callable[[psycopg.AsyncConnection], Awaitable[bool]],
    *,
    within: float = 20.0,
) -> None:
    async with (
        asyncio.timeout(within),
        await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection,
    ):
        while not await condition(connection):
            await asyncio.sleep(0.02)


def enqueue_all(dsn: str, jobs: list[pgqueue.NewJob]) -> list[int]:
    with psycopg.connect(dsn) as connection:
        return [each.id for each in pgqueue.enqueue_many(connection, jobs)]


def test_a_result_that_postgres_refuses_fails_its_own_job_only(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "ALTER TABLE pgqueue.finished_jobs ADD CHECK (result #>> '{}' <> 'refused')"
        )
    ids = enqueue_all(
        dsn, [echo.job(value="refused" if n == 37 else f"good {n}") for n in range(200)]
    )

    async def work() -> None:
        async with Worker(tasks, dsn, Settings(queues={"default": 50})):
            await drained(dsn)

    asyncio.run(work())

    with psycopg.connect(dsn) as connection:
        succeeded = connection.execute("SELECT id FROM pgqueue.finished_jobs").fetchall()
        dead = connection.execute("SELECT id, reason, error_type FROM pgqueue.jobs").fetchall()
    assert {row[0] for row in succeeded} == set(ids) - {ids[37]}
    assert [(row[0], row[1]) for row in dead] == [(ids[37], "attempts_exhausted")]
    assert "ResultNotStored" in dead[0][2]


def test_an_error_text_that_postgres_refuses_still_fails_its_job(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("ALTER TABLE pgqueue.jobs ADD CHECK (error NOT LIKE 'refused%')")
    ids = enqueue_all(dsn, [fails.job(value="refused"), fails.job(value="kept")])

    async def work() -> None:
        async with Worker(tasks, dsn):
            await drained(dsn)

    asyncio.run(work())

    with psycopg.connect(dsn) as connection:
        dead = dict(connection.execute("SELECT id, error FROM pgqueue.jobs").fetchall())
    assert dead[ids[1]] == "kept"
    assert "could not store" in dead[ids[0]]


def test_a_row_that_somebody_has_locked_holds_up_no_other_job(dsn: str) -> None:
    gate = asyncio.Event()
    gated = Tasks()

    @gated.task("gated")
    async def wait_for_gate(number: int) -> None:
        await gate.wait()

    ids = enqueue_all(dsn, [wait_for_gate.job(number=n) for n in range(10)])

    async def all_but_one(connection: psycopg.AsyncConnection) -> bool:
        cursor = await connection.execute("SELECT array_agg(id) FROM pgqueue.jobs")
        row = await cursor.fetchone()
        return row is not None and row[0] == [ids[4]]

    async def all_running(connection: psycopg.AsyncConnection) -> bool:
        cursor = await connection.execute(
            "SELECT count(*) FROM pgqueue.jobs WHERE state = 'running'"
        )
        row = await cursor.fetchone()
        return row is not None and row[0] == 10

    async def work() -> None:
        async with Worker(gated, dsn):
            await until(dsn, all_running)
            async with await psycopg.AsyncConnection.connect(dsn) as holder:
                await holder.execute(
                    "SELECT 1 FROM pgqueue.jobs WHERE id = %s FOR UPDATE", (ids[4],)
                )
                gate.set()
                await until(dsn, all_but_one)
            await drained(dsn)

    asyncio.run(work())
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "SELECT state, max(attempt) FROM pgqueue.finished_jobs GROUP BY 1"
        )
        assert rows.fetchall() == [("succeeded", 1)]


@pytest.mark.parametrize("mode", ["before the first job", "between jobs"])
def test_a_worker_outlives_the_loss_of_every_connection(dsn: str, mode: str) -> None:
    async def work() -> None:
        async with Worker(tasks, dsn, Settings(queues={"default": 5})):
            if mode == "between jobs":
                enqueue_all(dsn, [echo.job(value="first")])
                await drained(dsn)
            async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as admin:
                await admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND application_name LIKE 'pgqueue:%'"
                )
            enqueue_all(dsn, [echo.job(value=str(n)) for n in range(50)])
            await drained(dsn)

    asyncio.run(work())
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "SELECT count(*), max(attempt) FROM pgqueue.finished_jobs WHERE state = 'succeeded'"
        ).fetchone()
        assert row == (50 if mode == "before the first job" else 51, 1)
