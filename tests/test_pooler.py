"""A worker behind a transaction pooler: no LISTEN, no session locks, nothing prepared or set for
longer than a transaction. It polls, and keeps every promise."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest

import pgqueue
from pgqueue import Context, Fixed, Snooze, Tasks, migrate
from pgqueue.storage import connect
from pgqueue.worker import Settings, Worker
from tests.pooler import PROGRAM, pooled
from tests.test_exporter import read_again

SETTINGS = Settings(lease=timedelta(seconds=3), poll=timedelta(milliseconds=50))

needs_pooler = pytest.mark.skipif(
    PROGRAM is None, reason="NOT TESTED with a real pooler: this machine has no pgbouncer"
)


@pytest.fixture(params=["pgbouncer", "detected"])
def pooled_dsn(
    request: pytest.FixtureRequest, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """A database that a worker reaches, or believes to reach, through a pooler."""
    if request.param == "detected":
        monkeypatch.setattr(connect, "_BACKEND", "SELECT 0")
        yield dsn
    elif PROGRAM is None:
        pytest.skip("NOT TESTED with a real pooler: this machine has no pgbouncer")
    else:
        with pooled(dsn) as by_pooler:
            yield by_pooler


def rows(dsn: str, statement: str, *params: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(statement, params or None)
        return cursor.fetchall() if cursor.description else []


async def until(condition: Callable[[], object], *, within: float = 30.0) -> None:
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.02)


def test_every_job_runs_once_behind_a_pooler(
    pooled_dsn: str, dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    tasks = Tasks(transaction=lambda: psycopg.connect(dsn))

    @tasks.task("plain")
    async def plain(n: int) -> int:
        return n

    @tasks.task("effect", transactional=True)
    def effect(ctx: Context) -> None:
        ctx.connection.execute("INSERT INTO effects VALUES (%s)", (ctx.id,))

    @tasks.task("fails-once", backoff=Fixed(0.05))
    async def fails_once(ctx: Context) -> None:
        if ctx.attempt == 1:
            raise ValueError("once")

    @tasks.task("snoozes-once")
    async def snoozes_once(ctx: Context) -> None:
        if ctx.attempt == 1:
            raise Snooze(0.05)

    @tasks.task("once")
    async def once(ctx: Context) -> list[bool]:
        async with ctx.once(f"call:{ctx.id}") as first:
            pass
        async with ctx.once(f"call:{ctx.id}") as second:
            return [first, second]

    @tasks.task("dies", max_attempts=1)
    async def dies() -> None:
        raise ValueError("for ever")

    rows(dsn, "CREATE TABLE effects (job_id bigint)")
    with psycopg.connect(pooled_dsn) as connection:
        pgqueue.enqueue_many(
            connection,
            [plain.job(n=n) for n in range(200)]
            + [effect.job() for _ in range(20)]
            + [task.job() for task in (fails_once, snoozes_once, dies, once) for _ in range(5)],
        )

    async def work() -> None:
        async with Worker(tasks, pooled_dsn, SETTINGS) as worker:
            await until(
                lambda: (
                    rows(dsn, "SELECT count(*) FROM pgqueue.jobs WHERE state <> 'dead'") == [(0,)]
                )
            )
            beat = worker.parts.heartbeat.last_success
            await until(lambda: worker.parts.heartbeat.last_success > beat)
            bells = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ShareLock'"
            bells += " AND classid = 1885827377 AND database ="
            bells += " (SELECT oid FROM pg_database WHERE datname = current_database())"
            assert rows(dsn, bells) == []

    asyncio.run(work())
    counts = rows(
        dsn, "SELECT task, state, max(attempt), count(*) FROM pgqueue.all_jobs GROUP BY 1, 2"
    )
    assert sorted(counts) == [
        ("dies", "dead", 1, 5),
        ("effect", "succeeded", 1, 20),
        ("fails-once", "succeeded", 2, 5),
        ("once", "succeeded", 1, 5),
        ("plain", "succeeded", 1, 200),
        ("snoozes-once", "succeeded", 2, 5),
    ]
    assert rows(dsn, "SELECT count(DISTINCT job_id), count(*) FROM effects") == [(20, 20)]
    results = "SELECT result::text, count(*) FROM pgqueue.finished_jobs WHERE task = 'once'"
    assert rows(dsn, results + " GROUP BY 1") == [("[true,false]", 5)]
    assert caplog.text.count("a transaction pooler swallows LISTEN") == 1


def test_a_job_is_cancelled_behind_a_pooler_by_its_next_renewal(pooled_dsn: str, dsn: str) -> None:
    tasks = Tasks()
    started = asyncio.Event()

    @tasks.task("long")
    async def long() -> None:
        started.set()
        await asyncio.Event().wait()

    with psycopg.connect(dsn) as connection:
        job = pgqueue.enqueue(connection, long.job()).id

    async def work() -> None:
        async with Worker(tasks, pooled_dsn, SETTINGS):
            await started.wait()
            rows(dsn, "SELECT pgqueue.cancel(%s)", job)
            await until(lambda: rows(dsn, "SELECT state FROM pgqueue.all_jobs") == [("cancelled",)])

    asyncio.run(work())


@needs_pooler
def test_a_direct_connection_wakes_a_worker_behind_a_pooler(dsn: str) -> None:
    tasks = Tasks()
    ran = asyncio.Event()

    @tasks.task("hello")
    async def hello() -> None:
        ran.set()

    patient = replace(SETTINGS, poll=timedelta(minutes=1), listen_dsn=dsn)
    bells = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ShareLock'"
    bells += " AND classid = 1885827377 AND database ="
    bells += " (SELECT oid FROM pg_database WHERE datname = current_database())"

    async def work(by_pooler: str) -> None:
        async with Worker(tasks, by_pooler, patient):
            await until(lambda: rows(dsn, bells))
            with psycopg.connect(by_pooler, prepare_threshold=None) as connection:
                pgqueue.enqueue(connection, hello.job())
            async with asyncio.timeout(30):
                await ran.wait()

    with pooled(dsn) as by_pooler:
        asyncio.run(work(by_pooler))


@needs_pooler
def test_applications_that_prepare_nothing_enqueue_through_a_pooler(dsn: str) -> None:
    with pooled(dsn) as by_pooler:
        connections = [psycopg.connect(by_pooler, prepare_threshold=None) for _ in range(6)]
        for _ in range(8):
            for connection in connections:
                pgqueue.enqueue(connection, pgqueue.NewJob("hello"))
                connection.commit()
        for connection in connections:
            connection.close()
    assert rows(dsn, "SELECT count(*) FROM pgqueue.jobs") == [(48,)]


@needs_pooler
def test_the_schema_is_installed_through_a_pooler(empty_dsn: str) -> None:
    with pooled(empty_dsn) as by_pooler:
        assert migrate.upgrade(by_pooler) == migrate.head()
    assert migrate.check(empty_dsn).state is migrate.SchemaState.CURRENT


def test_an_exporter_reads_behind_a_pooler_and_leaves_nothing_set(pooled_dsn: str) -> None:
    exporter = read_again(pooled_dsn)
    for reads in (1, 2, 3):
        told = next(exporter)
        assert (told.value("pgqueue_up"), told.value("pgqueue_exporter_reads_total")) == (1, reads)
    with psycopg.connect(pooled_dsn, autocommit=True) as other:
        for setting, usual in (("statement_timeout", "0"), ("transaction_read_only", "off")):
            assert other.execute(f"SHOW {setting}").fetchone() == (usual,)
    exporter.close()
