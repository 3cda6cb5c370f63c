"""The thread that answers for a worker, whatever its event loop and its network do."""

import asyncio
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg
import pytest

import pgqueue
from pgqueue import Tasks
from pgqueue.storage import connect
from pgqueue.worker import Settings, Worker, backstop
from pgqueue.worker.clock import boottime
from pgqueue.worker.holdings import Hold
from tests.crew import make
from tests.proxy import LossyProxy


def enqueue(dsn: str, *new_jobs: pgqueue.NewJob) -> list[int]:
    with psycopg.connect(dsn) as connection:
        return [each.id for each in pgqueue.enqueue_many(connection, list(new_jobs))]


def states(dsn: str) -> dict[int, str]:
    with psycopg.connect(dsn) as connection:
        return dict(connection.execute("SELECT id, state FROM pgqueue.all_jobs").fetchall())


async def until(condition: Callable[[], object], *, within: float = 20.0) -> None:
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.01)


def test_a_connection_that_says_nothing_is_cut_at_its_deadline(dsn: str) -> None:
    with LossyProxy(dsn) as proxy, connect.connect(proxy.dsn, "test") as connection:
        proxy.silence = "always"
        began = time.monotonic()
        with (
            pytest.raises(psycopg.OperationalError),
            connect.deadline(connection, 0.2),
        ):
            connection.execute("SELECT 1")
        assert time.monotonic() - began < 5


def test_a_server_that_falls_silent_after_the_login_is_not_waited_for(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect, "CONNECT_TIMEOUT", 0.2)
    with LossyProxy(dsn) as proxy:
        proxy.silence = "after login"
        with pytest.raises(psycopg.OperationalError):
            connect.connect(proxy.dsn, "test")


def test_a_heartbeat_beats_again_after_its_server_was_silent(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect, "CONNECT_TIMEOUT", 0.5)

    async def work() -> None:
        with LossyProxy(dsn) as proxy:
            settings = Settings(lease=timedelta(seconds=2), maintenance=False)
            async with Worker(Tasks(), proxy.dsn, settings) as worker:
                heartbeat = worker.parts.heartbeat
                began = heartbeat.last_success
                await until(lambda: heartbeat.last_success > began)
                proxy.silence = "after login"
                swallowed = proxy.swallowed
                # The statement that was on its way, and those of two connections after it.
                await until(lambda: proxy.swallowed > swallowed + 4)
                proxy.silence = "never"
                silent_at = heartbeat.last_success
                await until(lambda: heartbeat.last_success > silent_at, within=10)

    asyncio.run(work())


def blocked_until(condition: Callable[[], object], *, within: float = 30.0) -> None:
    """Block the event loop until then, for so many seconds at most."""
    deadline = time.monotonic() + within
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)


def test_leases_are_renewed_while_the_event_loop_is_blocked(dsn: str) -> None:
    tasks, lease = Tasks(), 2.0
    renewed: list[bool] = []

    @tasks.task("blocks", timeout=None)
    async def blocks() -> None:
        heartbeat = worker.parts.heartbeat
        began = heartbeat.last_success
        blocked_until(lambda: heartbeat.last_success > began + lease, within=10)
        renewed.append(heartbeat.last_success > began + lease)

    worker = Worker(tasks, dsn, Settings(lease=timedelta(seconds=lease), maintenance=False))

    async def work() -> None:
        async with worker:
            enqueue(dsn, blocks.job())
            await until(lambda: renewed)

    asyncio.run(work())
    assert renewed == [True]


def test_a_lease_counts_from_when_it_was_asked_for_not_from_the_answer(dsn: str) -> None:
    """A claim or renewal that is answered late has lasted for that long already."""
    tasks, late = Tasks(), 0.5
    over = asyncio.Event()

    @tasks.task("waits", timeout=None)
    async def waits() -> None:
        await over.wait()

    with psycopg.connect(dsn) as connection:
        connection.execute(
            "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS"
            f" 'BEGIN PERFORM pg_sleep({late}); RETURN NEW; END'"
        )
        connection.execute(
            "CREATE TRIGGER dawdle AFTER UPDATE ON pgqueue.jobs FOR EACH ROW"
            " WHEN (NEW.state = 'running') EXECUTE FUNCTION dawdle()"
        )
    enqueue(dsn, waits.job())

    async def work() -> None:
        lease, grace = timedelta(seconds=2), timedelta(0)
        settings = Settings(lease=lease, grace=grace, maintenance=False)
        async with Worker(tasks, dsn, settings) as worker:
            await until(worker.parts.holdings.all)
            (hold,) = worker.parts.holdings.all()
            claimed_at = hold.leased_at
            assert boottime() - claimed_at >= late
            await until(lambda: hold.leased_at > claimed_at)
            assert boottime() - hold.leased_at >= late
            over.set()
            await until(lambda: not worker.parts.holdings)

    asyncio.run(work())


def test_a_job_whose_lease_may_have_run_out_is_not_started(dsn: str) -> None:
    """A machine that was asleep has missed its renewals, and others may have its jobs."""

    async def work() -> None:
        async with Worker(Tasks(), dsn, Settings(lease=timedelta(seconds=30))) as worker:
            await until(lambda: worker.parts.ears.is_up)
            is_fresh, now = worker.parts.heartbeat.is_fresh, boottime()
            assert is_fresh(Hold(make("echo"), now - 20))
            assert not is_fresh(Hold(make("echo"), now - 29))
            assert not is_fresh(Hold(make("echo"), now - 3600))

    asyncio.run(work())


def test_a_hook_that_blocks_the_event_loop_ends_the_process_after_the_rest_was_given_back(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backstop, "_LOOP_PATIENCE", 0.5)
    monkeypatch.setattr(backstop, "_STUCK_AFTER", 0.5)
    tasks, seen = Tasks(), {}
    gave_up, started, go_on = threading.Event(), threading.Event(), threading.Event()

    @tasks.task("quick")
    async def quick() -> None: ...

    @tasks.task("in-thread")
    def in_thread() -> None:
        started.set()
        go_on.wait(60)

    @tasks.on_succeeded
    async def block(event: Any) -> None:
        blocked_until(gave_up.is_set)
        seen.update(states(dsn))
        go_on.set()

    async def work() -> None:
        settings = Settings(lease=timedelta(seconds=2), maintenance=False)
        async with Worker(tasks, dsn, settings, on_stuck=gave_up.set):
            neighbour = enqueue(dsn, in_thread.job())
            await until(started.is_set)
            (done,) = enqueue(dsn, quick.job())
            await until(lambda: seen)
            assert seen == {neighbour[0]: "available", done: "succeeded"}

    asyncio.run(work())
    assert gave_up.is_set()


def test_a_loop_that_is_blocked_by_a_job_without_a_timeout_is_left_alone(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backstop, "_LOOP_PATIENCE", 0.2)
    monkeypatch.setattr(backstop, "_STUCK_AFTER", 0.2)
    monkeypatch.setattr(backstop, "_SECOND_LOOK", 0.01)
    tasks = Tasks()
    gave_up, ended = threading.Event(), threading.Event()

    @tasks.task("long", timeout=None)
    async def long() -> None:
        beats = worker.parts.heartbeat.last_success
        blocked_until(lambda: worker.parts.heartbeat.last_success > beats + 2)
        ended.set()

    worker = Worker(tasks, dsn, Settings(lease=timedelta(seconds=2)), on_stuck=gave_up.set)

    async def work() -> None:
        async with worker:
            enqueue(dsn, long.job())
            await until(ended.is_set)

    asyncio.run(work())
    assert not gave_up.is_set()
