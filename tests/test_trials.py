"""The heads that claims have left are tried beside them, on a connection of their own."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import psycopg
import pytest

import pgqueue
from pgqueue import Tasks
from pgqueue.storage.claiming import Claimed
from pgqueue.worker import Settings, Worker, cursors
from pgqueue.worker.clock import boottime
from pgqueue.worker.cursors import Cursors
from pgqueue.worker.session import Session
from pgqueue.worker.trials import Trials
from tests.test_dead_heads import bury, snapshot_held

tasks = Tasks()
TRYING = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgqueue:trials'"


@tasks.task("work")
async def work() -> None:
    pass


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cursors, "_FIRST_TRIAL", 0.05)
    monkeypatch.setattr(cursors, "_LAST_TRIAL", 0.2)
    monkeypatch.setattr(cursors, "_TRIAL_SHARE", 0.5)


def that_left(*queues: str) -> Cursors:
    """Cursors of these queues, whose heads have been slow."""
    left = Cursors({queue: [100] for queue in queues})
    for _ in range(3):
        claimed = Claimed([], 50_000, datetime.now(UTC))
        left.searched(left.search(dict.fromkeys(queues, 10)), claimed, boottime())
    assert set(left.queues) == set(queues)
    return left


@pytest.mark.usefixtures("often")
def test_a_worker_goes_back_to_the_head_of_a_queue_once_it_is_clean(dsn: str) -> None:
    async def run_past_it(connection: psycopg.Connection) -> None:
        async with Worker(tasks, dsn, Settings(queues={"default": 10})) as worker:
            past = worker.parts.pump.cursors
            with snapshot_held(dsn):
                bury(connection, 60_000)
                while not past.in_use or not trying(connection):
                    pgqueue.enqueue(connection, work.job())
                    await asyncio.sleep(0.01)
                trial = past.next_trial()
                while past.next_trial() == trial:
                    await asyncio.sleep(0.01)
                assert past.in_use, "it was tried, and is slow"
            connection.execute("VACUUM pgqueue.jobs")
            while past.in_use or trying(connection):
                await asyncio.sleep(0.01)

    async def within_a_minute() -> None:
        with psycopg.connect(dsn, autocommit=True) as connection:
            async with asyncio.timeout(60):
                await run_past_it(connection)

    asyncio.run(within_a_minute())


def trying(connection: psycopg.Connection) -> int:
    (count,) = connection.execute(TRYING).fetchone() or (0,)
    return int(count)


@pytest.mark.usefixtures("often")
def test_heads_are_tried_one_after_the_other_and_the_fast_ones_come_back(dsn: str) -> None:
    left = that_left("default", "empty", "other")
    with psycopg.connect(dsn, autocommit=True) as connection, snapshot_held(dsn):
        bury(connection, 60_000)
        trials = Trials(Session(dsn, "trials"), left, tasks=["work"])

        async def until_one_is_left() -> None:
            async with at_work(trials), asyncio.timeout(30):
                while set(left.queues) != {"default"}:
                    await asyncio.sleep(0.01)

        asyncio.run(until_one_is_left())


@contextlib.asynccontextmanager
async def at_work(trials: Trials) -> AsyncIterator[None]:
    """They go on until the ``async with`` ends."""
    trying = asyncio.create_task(trials.run())
    try:
        yield
    finally:
        trying.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await trying
        await trials.session.close()


@pytest.mark.usefixtures("often")
def test_a_trial_that_fails_says_nothing_good_of_the_head_and_is_repeated_later(dsn: str) -> None:
    """A table that cannot be had, as while somebody changes it."""
    left = that_left("default")

    async def until_it_comes_back(holder: psycopg.Connection) -> None:
        trials = Trials(Session(dsn, "trials"), left, tasks=["work"])
        async with at_work(trials), asyncio.timeout(30):
            seen = {left.next_trial()}
            while len(seen) < 4:
                await asyncio.sleep(0.01)
                seen.add(left.next_trial())
            assert set(left.queues) == {"default"}
            holder.rollback()
            while left.in_use:
                await asyncio.sleep(0.01)

    with psycopg.connect(dsn) as holder:
        holder.execute("LOCK TABLE pgqueue.jobs IN ACCESS EXCLUSIVE MODE")
        asyncio.run(until_it_comes_back(holder))
