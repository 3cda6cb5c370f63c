"""While the head of a queue is slow, a connection beside the claims looks behind their cursors and
at that head."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

import pgqueue
from pgqueue import Exponential, Tasks
from pgqueue.storage.claiming import Claimed
from pgqueue.storage.connect import SESSION
from pgqueue.worker import Settings, Worker, claimer, cursors, scout
from pgqueue.worker.clock import boottime
from pgqueue.worker.scout import Scout
from pgqueue.worker.session import Session
from tests.test_dead_heads import Desk, bury, snapshot_held

Connection = psycopg.Connection[Any]

tasks = Tasks()
stumbled: set[str] = set()
VANISHED = """
UPDATE pgqueue.jobs
SET state = 'running', attempt = 1, worker_id = gen_random_uuid(), run_at = now(),
    claimed_at = now(), lease_until = now() - interval '1 second'
WHERE id = %s
RETURNING id
"""
SCOUTS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgqueue:scout'"


@tasks.task("work")
async def work() -> None:
    pass


@tasks.task("dawdle")
async def dawdle() -> None:
    await asyncio.sleep(0.2)


@tasks.task("stumble", backoff=Exponential(base=0.1, max_delay=0.1, jitter=0))
async def stumble(over: str) -> None:
    """Fails the first time."""
    if over not in stumbled:
        stumbled.add(over)
        raise ValueError(over)


@pytest.fixture
def connection(dsn: str) -> Iterator[Connection]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(SESSION, {"local": False})
        yield connection


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads are tried at once, and again soon."""
    monkeypatch.setattr(cursors, "_FIRST_TRIAL", 0.05)
    monkeypatch.setattr(cursors, "_LAST_TRIAL", 0.2)


def within_a_minute(do: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await do()

    asyncio.run(bounded())


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


def scouts(connection: Connection) -> int:
    """How many connections look at slow heads."""
    return int((connection.execute(SCOUTS).fetchone() or (0,))[0])


def is_finished(connection: Connection, job_id: int) -> bool:
    look = "SELECT FROM pgqueue.finished_jobs WHERE id = %s"
    return connection.execute(look, [job_id]).fetchone() is not None


async def run_past_the_head(worker: Worker, connection: Connection) -> None:
    """Bury rows at the head, and give the worker jobs until it has found that slow."""
    bury(connection, 60_000)
    while not worker.parts.claimer.cursors.in_use:
        pgqueue.enqueue(connection, work.job())
        await asyncio.sleep(0.01)


def leave_the_head(desk: Desk) -> None:
    """As if claims that found nothing had been slow; nobody has looked behind the cursors yet."""
    past = desk.claimer.cursors
    for _ in range(3):
        search = past.search({"default": desk.slots})
        past.searched(search, Claimed([], 50_000, datetime.now(UTC)), boottime())
    assert past.in_use


@contextlib.asynccontextmanager
async def at_work(desk: Desk, dsn: str, on_found: Callable[[], None]) -> AsyncIterator[None]:
    """A scout goes on for the claims of *desk*, until the ``async with`` ends."""
    beside = Scout(Session(dsn, "scout"), desk.claimer, tasks=["work"], on_found=on_found)
    scouting = asyncio.create_task(beside.run())
    beside.wake()
    try:
        yield
    finally:
        scouting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await scouting
        await beside.session.close()


@pytest.mark.usefixtures("often")
def test_a_worker_goes_back_to_the_head_of_a_queue_once_it_is_clean(
    dsn: str, connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "pgqueue.worker")

    async def go_past_it_and_back() -> None:
        async with Worker(tasks, dsn, Settings(queues={"default": 10})) as worker:
            past = worker.parts.claimer.cursors
            assert not scouts(connection)
            with snapshot_held(dsn):
                await run_past_the_head(worker, connection)
                await until(lambda: scouts(connection))
                trial = past.next_trial()
                await until(lambda: past.next_trial() != trial)
                assert past.in_use, "it was tried, and is slow"
            connection.execute("VACUUM pgqueue.jobs")
            await until(lambda: not past.in_use)
            await until(lambda: not scouts(connection))

    within_a_minute(go_past_it_and_back)
    assert caplog.text.count("has become slow") == 1


def test_a_job_that_is_found_behind_a_cursor_is_told_of_and_taken_by_the_next_claim(
    dsn: str, connection: Connection
) -> None:
    async def find_it(desk: Desk) -> None:
        told = asyncio.Event()
        async with at_work(desk, dsn, on_found=told.set):
            await told.wait()

    with snapshot_held(dsn), psycopg.connect(dsn) as application:
        late = pgqueue.enqueue(application, work.job()).id
        bury(connection, 60_000)
        desk = Desk(connection)
        desk.slow_down()
        application.commit()
        desk.claimer.limits()
        within_a_minute(lambda: find_it(desk))
        assert [job.id for job in desk.claim()] == [late]


def test_an_idle_worker_runs_a_job_that_committed_late(dsn: str, connection: Connection) -> None:
    async def find_it() -> None:
        async with Worker(tasks, dsn, Settings(queues={"default": 10})) as worker:
            await run_past_the_head(worker, connection)
            await until(lambda: not len(worker.parts.holdings))
            application.commit()
            await until(lambda: is_finished(connection, late.id))

    with snapshot_held(dsn), psycopg.connect(dsn) as application:
        late = pgqueue.enqueue(application, work.job())
        within_a_minute(find_it)


def test_a_job_that_committed_late_is_run_though_others_ahead_of_it_take_every_slot(
    dsn: str, connection: Connection
) -> None:
    async def find_it() -> None:
        settings = Settings(queues={"default": 2}, prefetch=0)
        async with Worker(tasks, dsn, settings) as worker:
            await run_past_the_head(worker, connection)
            pgqueue.enqueue_many(connection, [dawdle.job()] * 600)
            await until(lambda: worker.parts.crew.lanes["default"].running == 2)
            application.commit()
            await until(lambda: is_finished(connection, late.id))
            connection.execute("DELETE FROM pgqueue.jobs WHERE state = 'available'")

    with snapshot_held(dsn), psycopg.connect(dsn) as application:
        late = pgqueue.enqueue(application, work.job())
        within_a_minute(find_it)


def test_whatever_comes_back_is_run_past_a_slow_head(dsn: str, connection: Connection) -> None:
    """Retried, redriven, rescued from a worker that vanished, or of a priority never seen."""

    def rows(sql: str, *given: object) -> list[Any]:
        return connection.execute(sql, given).fetchall()

    async def run_all() -> None:
        settings = Settings(
            queues={"default": 10},
            lease=timedelta(seconds=2),
            rescue_every=timedelta(seconds=0.1),
        )
        async with Worker(tasks, dsn, settings) as worker:
            await run_past_the_head(worker, connection)
            retried = pgqueue.enqueue(connection, stumble.job(over="retry")).id
            redriven = pgqueue.enqueue(connection, stumble.job(over="death"), max_attempts=1).id
            urgent = pgqueue.enqueue(connection, work.job(), priority=1).id
            low = pgqueue.enqueue(connection, work.job(), priority=30_000).id
            rescued = pgqueue.enqueue(connection, work.job(), delay=3600).id
            rows(VANISHED, rescued)
            await until(lambda: rows("SELECT 1 FROM pgqueue.jobs WHERE state = 'dead'"))
            rows("SELECT pgqueue.retry(%s)", redriven)
            for job_id in (retried, redriven, urgent, low, rescued):
                await until(lambda job_id=job_id: is_finished(connection, job_id))
            assert worker.parts.claimer.cursors.in_use

    with snapshot_held(dsn):
        within_a_minute(run_all)


@pytest.mark.usefixtures("often")
def test_while_a_worker_has_no_room_nobody_looks_for_more_jobs(
    dsn: str, connection: Connection
) -> None:
    async def try_the_head(desk: Desk) -> None:
        async with at_work(desk, dsn, on_found=lambda: None):
            past = desk.claimer.cursors
            trials = {past.next_trial()}
            while len(trials) < 3:
                trials.add(past.next_trial())
                await asyncio.sleep(0.01)
            assert past.due_in(boottime()) == 0, "the first look has not been made"
            desk.claimer.limits()
            await until(lambda: past.due_in(boottime()))

    with snapshot_held(dsn):
        bury(connection, 60_000)
        desk = Desk(connection)
        leave_the_head(desk)
        within_a_minute(lambda: try_the_head(desk))


def test_there_is_room_for_what_is_found_while_a_slot_is_free(
    dsn: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    with snapshot_held(dsn):
        bury(connection, 60_000)
        desk = Desk(connection)
        desk.claimer.limits()
        assert not desk.claimer.wants_found, "no head was left"
        desk.slow_down()
        assert desk.claimer.wants_found
        desk.claim()
        desk.crew.lanes["default"].running = desk.slots
        desk.claimer.limits()
        assert desk.claimer.wants_found, "it was free a moment ago"
        monkeypatch.setattr(claimer, "_LATELY", 0.0)
        assert not desk.claimer.wants_found


@pytest.mark.usefixtures("often")
def test_a_trial_that_the_server_cancels_has_shown_that_the_head_is_slow(
    dsn: str, connection: Connection
) -> None:
    """Claims from it would be cancelled as well."""

    async def try_it(desk: Desk) -> None:
        async with at_work(desk, dsn, on_found=lambda: None):
            trial = desk.claimer.cursors.next_trial()
            while desk.claimer.cursors.next_trial() == trial:
                connection.execute(
                    "SELECT pg_cancel_backend(pid) FROM pg_stat_activity"
                    " WHERE application_name = 'pgqueue:scout' AND wait_event_type = 'Lock'"
                )
                await asyncio.sleep(0.01)
            assert desk.claimer.cursors.in_use

    desk = Desk(connection)
    leave_the_head(desk)
    with psycopg.connect(dsn) as holder:
        holder.execute("LOCK TABLE pgqueue.jobs IN ACCESS EXCLUSIVE MODE")
        within_a_minute(lambda: try_it(desk))


def test_a_scout_whose_connection_was_cut_comes_back_and_the_cursors_stay(
    dsn: str, connection: Connection
) -> None:
    async def cut_it(desk: Desk) -> None:
        async with at_work(desk, dsn, on_found=lambda: None):
            past = desk.claimer.cursors
            await until(lambda: past.bound is not None)
            bound = past.bound
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'pgqueue:scout'"
            )
            await until(lambda: past.bound != bound)
            assert past.in_use

    with snapshot_held(dsn):
        bury(connection, 60_000)
        desk = Desk(connection)
        desk.slow_down()
        desk.claimer.limits()
        within_a_minute(lambda: cut_it(desk))


@pytest.mark.parametrize("trouble", ["refused", "silent"])
def test_a_worker_whose_scout_has_no_connection_searches_from_the_head(
    dsn: str, connection: Connection, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the server has none left: or what came in behind would wait for ever."""
    monkeypatch.setattr(scout, "_PATIENCE", 0.2)

    async def give_up(desk: Desk) -> None:
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            if trouble == "silent":
                listening.listen()
            port = listening.getsockname()[1]
            async with at_work(desk, f"host=127.0.0.1 port={port}", on_found=lambda: None):
                await until(lambda: not desk.claimer.cursors.in_use)

    with snapshot_held(dsn):
        bury(connection, 60_000)
        an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
        late = pgqueue.enqueue(connection, work.job().options(run_at=an_hour_ago)).id
        desk = Desk(connection)
        leave_the_head(desk)
        claim = desk.claimer.claim({"default": 10}).statement
        assert len(connection.execute(*claim).fetchall()) == 1, "it is behind the cursor"
        within_a_minute(lambda: give_up(desk))
        assert late in {job.id for job in desk.claim()}
