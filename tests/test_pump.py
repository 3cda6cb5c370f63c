"""The pump beside trouble: outcomes that cannot be stored, rows that somebody holds."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import psycopg
import pytest

import pgqueue
from pgqueue import Tasks
from pgqueue.worker import Settings, Worker
from tests.proxy import LossyProxy

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


def test_large_jobs_after_tiny_ones_are_not_all_leased_at_once(dsn: str) -> None:
    tasks = Tasks()
    gate = asyncio.Event()

    @tasks.task("job")
    async def job(size: str) -> None:
        if size:
            await gate.wait()

    enqueue_all(dsn, [job.job(size="") for _ in range(500)])
    leased = "SELECT sum(octet_length(args::text)) FROM pgqueue.jobs WHERE state = 'running'"

    async def half_is_leased(connection: psycopg.AsyncConnection) -> bool:
        row = await (await connection.execute(leased)).fetchone()
        return row is not None and (row[0] or 0) > 8 * 1024 * 1024

    async def work() -> int:
        async with Worker(tasks, dsn, Settings(queues={"default": 2})) as worker:
            await drained(dsn)
            enqueue_all(dsn, [job.job(size="x" * 60_000) for _ in range(400)])
            await until(dsn, half_is_leased)
            async with asyncio.timeout(20):  # until it is not about to claim any more
                while worker.parts.pump._wait < 0.1:
                    await asyncio.sleep(0.01)
            async with await psycopg.AsyncConnection.connect(dsn) as connection:
                row = await (await connection.execute(leased)).fetchone()
            gate.set()
            await drained(dsn)
            return int(row[0]) if row else 0

    assert asyncio.run(work()) / (1024 * 1024) < 17


BELLS_HELD = (
    "SELECT objid::int FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ShareLock'"
    " AND classid = 1885827377"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


async def bells(connection: psycopg.AsyncConnection) -> set[int]:
    """The bells that somebody holds."""
    return {row[0] for row in await (await connection.execute(BELLS_HELD)).fetchall()}


async def silent(connection: psycopg.AsyncConnection) -> bool:
    return not await bells(connection)


async def held(connection: psycopg.AsyncConnection) -> bool:
    return bool(await bells(connection))


def gated(gate: asyncio.Event) -> tuple[Tasks, Callable[[], pgqueue.NewJob]]:
    """Tasks with one that waits for the gate, and what makes a job of it."""
    tasks = Tasks()

    @tasks.task("gated")
    async def wait_for_gate() -> None:
        await gate.wait()

    return tasks, wait_for_gate.job


def test_nobody_is_rung_while_every_slot_is_taken(dsn: str) -> None:
    gate = asyncio.Event()
    tasks, job = gated(gate)

    async def work() -> list[str]:
        async with (
            Worker(tasks, dsn, Settings(queues={"default": 2})),
            await psycopg.AsyncConnection.connect(dsn, autocommit=True) as ears,
        ):
            await until(dsn, held)
            enqueue_all(dsn, [job() for _ in range(4)])
            await until(dsn, silent)
            await ears.execute("LISTEN pgqueue")
            for _ in range(20):
                enqueue_all(dsn, [job()])
            rung = [notice.payload async for notice in ears.notifies(timeout=0.2)]
            gate.set()
            await drained(dsn)
            await until(dsn, held)
        return rung

    assert asyncio.run(work()) == []


def test_a_queue_that_has_work_enough_is_not_rung_for_beside_one_that_has_none(dsn: str) -> None:
    gate = asyncio.Event()
    tasks, job = gated(gate)

    async def work() -> None:
        async with Worker(tasks, dsn, Settings(queues={"full": 1, "idle": 1})):
            enqueue_all(dsn, [job().options(queue="full") for _ in range(2)])
            with psycopg.connect(dsn) as connection:
                row = connection.execute("SELECT pgqueue.bell('full'), pgqueue.bell('idle')")
                full, idle = row.fetchone() or (0, 0)
            assert full != idle

            async def idle_only(connection: psycopg.AsyncConnection) -> bool:
                return await bells(connection) == {idle}

            await until(dsn, idle_only)
            gate.set()
            await drained(dsn)

    asyncio.run(work())


def test_the_bell_is_mostly_let_go_while_short_jobs_keep_the_slots_busy(dsn: str) -> None:
    tasks = Tasks()

    @tasks.task("short")
    async def short() -> None:
        await asyncio.sleep(0.02)

    async def work() -> list[bool]:
        seen = []
        async with (
            Worker(tasks, dsn, Settings(queues={"default": 2})),
            await psycopg.AsyncConnection.connect(dsn, autocommit=True) as watcher,
        ):
            await until(dsn, held)
            enqueue_all(dsn, [short.job() for _ in range(200)])
            await until(dsn, silent)
            cursor = await watcher.execute("SELECT count(*) FROM pgqueue.jobs")
            while ((await cursor.fetchone()) or (0,))[0] > 40:
                seen.append(await held(watcher))
                await asyncio.sleep(0.005)
                cursor = await watcher.execute("SELECT count(*) FROM pgqueue.jobs")
            await drained(dsn)
        return seen

    seen = asyncio.run(work())
    assert len(seen) > 20
    assert sum(seen) < len(seen) / 10


def test_a_steady_flow_of_jobs_rings_for_few_of_them_and_then_the_worker_is_rung_again(
    dsn: str,
) -> None:
    """A transaction that notifies makes all others that do wait for its commit."""
    tasks = Tasks()

    @tasks.task("brief")
    async def brief() -> None:
        pass

    def enqueue_singly(jobs: int) -> None:
        with psycopg.connect(dsn, autocommit=True) as connection:
            for _ in range(jobs):
                pgqueue.enqueue(connection, brief.job())

    async def work() -> tuple[int, int]:
        async with (
            Worker(tasks, dsn, Settings(queues={"default": 10})),
            await psycopg.AsyncConnection.connect(dsn, autocommit=True) as ears,
        ):
            await until(dsn, held)
            await ears.execute("LISTEN pgqueue")
            await asyncio.to_thread(enqueue_singly, 1500)
            in_flow = len([notice async for notice in ears.notifies(timeout=0.2)])
            await drained(dsn)
            await until(dsn, held)
            enqueue_all(dsn, [brief.job()])
            alone = len([notice async for notice in ears.notifies(timeout=10, stop_after=1)])
            await drained(dsn)
        return in_flow, alone

    in_flow, alone = asyncio.run(work())
    assert in_flow < 750
    assert alone == 1


def test_a_sleeping_worker_finds_a_job_that_nobody_rang_for(dsn: str) -> None:
    async def sleeps(connection: psycopg.AsyncConnection) -> bool:
        cursor = await connection.execute(
            "SELECT FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name = 'pgqueue:pump'"
            " AND state_change < clock_timestamp() - interval '0.3 s'"
        )
        return await cursor.fetchone() is not None

    async def is_over(connection: psycopg.AsyncConnection) -> bool:
        cursor = await connection.execute("SELECT FROM pgqueue.finished_jobs")
        return await cursor.fetchone() is not None

    async def work() -> None:
        async with Worker(tasks, dsn, Settings(poll=timedelta(seconds=1), maintenance=False)):
            await until(dsn, sleeps)
            with psycopg.connect(dsn) as connection:
                pgqueue.enqueue(connection, echo.job(value="unheard of"), notify=False)
            await until(dsn, is_over, within=15)

    asyncio.run(work())


def test_a_silent_connection_for_bells_holds_up_no_outcome(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    gate = asyncio.Event()
    tasks, job = gated(gate)

    async def work() -> None:
        with LossyProxy(dsn) as proxy:
            settings = Settings(queues={"default": 1}, listen_dsn=proxy.dsn)
            async with Worker(tasks, dsn, settings) as worker:
                await until(dsn, held)
                opened_at = worker.parts.pump._session.opened_at
                proxy.silence = "always"
                enqueue_all(dsn, [job() for _ in range(3)])
                await until(dsn, is_running)
                async with asyncio.timeout(10):
                    while "bell: " not in caplog.text:  # it has tried to let go of it
                        await asyncio.sleep(0.01)
                gate.set()
                await drained(dsn, within=10)
                assert worker.parts.pump._session.opened_at == opened_at

    asyncio.run(work())


async def is_running(connection: psycopg.AsyncConnection) -> bool:
    cursor = await connection.execute("SELECT 1 FROM pgqueue.jobs WHERE state = 'running'")
    return await cursor.fetchone() is not None


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


@pytest.mark.parametrize("moment", ["the next exchange", "what is told between the two"])
def test_jobs_of_an_answer_that_was_not_read_yet_run_once_though_the_connection_breaks(
    dsn: str, moment: str
) -> None:
    runs: Counter[int] = Counter()
    tasks = Tasks()

    @tasks.task("count")
    async def count(number: int) -> None:
        await asyncio.sleep(0)  # or all in hand end at once, where tasks begin eagerly
        runs[number] += 1

    async def work() -> int:
        enqueue_all(dsn, [count.job(number=number) for number in range(3000)])
        worker = Worker(tasks, dsn, Settings(queues={"default": 20}, prefetch=100))
        async with worker:
            pump = worker.parts.pump
            session = pump._session
            exchange, tell, broken = session.exchange, pump._tell, 0

            def breaks() -> bool:
                nonlocal broken
                if pump._unread is None or broken == 3:
                    return False
                broken += 1
                with psycopg.connect(dsn, autocommit=True) as admin:
                    pid = session.connection.info.backend_pid
                    admin.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
                return True

            async def break_first(statements: Any, meanwhile: Any = None) -> Any:
                breaks()
                return await exchange(statements, meanwhile)

            async def tell_in_vain() -> None:
                if breaks():
                    worker.parts.tally._due_at = 0.0
                await tell()

            if moment == "the next exchange":
                session.exchange = break_first  # type: ignore[method-assign]
            else:
                pump._tell = tell_in_vain  # type: ignore[method-assign]
            await drained(dsn)
            return broken

    assert asyncio.run(work()) == 3
    assert runs == dict.fromkeys(range(3000), 1)
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "SELECT count(*), max(attempt) FROM pgqueue.finished_jobs WHERE state = 'succeeded'"
        ).fetchone()
        assert row == (3000, 1)
