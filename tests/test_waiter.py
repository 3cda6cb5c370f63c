"""Whoever waits for a job is told what became of it, and never waits for ever."""

import asyncio
import copy
import pickle
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

import pgqueue
from pgqueue import (
    Enqueued,
    InvalidOption,
    JobCancelled,
    JobDead,
    JobGone,
    JobNotFound,
    NewJob,
    SchemaMismatch,
    Tasks,
    UndecodablePayload,
    Waiter,
    WaitFailed,
    WaitInsideTransaction,
    WaitTimeout,
    migrate,
)
from pgqueue.job import Job, Reason
from pgqueue.outcome import Cancelled, Died, Failure, Outcome, Retried, Succeeded
from pgqueue.storage.drivers import run
from pgqueue.storage.finishing import finish
from pgqueue.testing.databases import dsn_of
from pgqueue.waiter import line, lookout
from pgqueue.worker import Settings, Worker
from tests.command import environment
from tests.connections import KINDS, Kind
from tests.crew import until
from tests.postgres import Server, eventually
from tests.process import Stage
from tests.rows import WORKER, claim
from tests.worker_tasks import wait

Connection = psycopg.Connection[Any]
WORK = NewJob("work")
LONG = 60.0
"""Seconds that a wait may take which should end at once."""


class Shop:
    """A database, and somebody in it who enqueues jobs and ends them, committing each time."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.connection = psycopg.connect(dsn, autocommit=True)

    def enqueue(self, **options: Any) -> int:
        return pgqueue.enqueue(self.connection, WORK.options(**options)).id

    def running(self, **options: Any) -> Job:
        """A job that runs."""
        job_id = self.enqueue(**options)
        (job,) = (job for job in claim(self.connection) if job.id == job_id)
        return job

    def end(self, *outcomes: Outcome, on: Connection | None = None) -> None:
        connection = on or self.connection
        accepted = run(connection, finish(outcomes, worker_id=WORKER, moment=0))
        assert accepted == {outcome.job.id for outcome in outcomes}

    def sql(self, statement: str, *params: Any) -> list[tuple[Any, ...]]:
        cursor = self.connection.execute(statement, params or None)
        return cursor.fetchall() if cursor.description else []

    def lines(self) -> list[int]:
        """The server's processes that serve waiters."""
        return [
            row[0]
            for row in self.sql(
                "SELECT pid FROM pg_stat_activity WHERE application_name = 'pgqueue:waiter'"
                " AND datname = current_database()"
            )
        ]

    def bell_is_held(self) -> bool:
        return bool(
            self.sql(
                "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND classid = 1885827379"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
        )


def succeeded(job: Job, result: str | None = "{}") -> Succeeded:
    return Succeeded(job, 0, 0, result)


def died(job: Job) -> Died:
    return Died(job, 0, 0, Failure("KeyError", "no such user", None, "f"), Reason.NON_RETRYABLE)


@pytest.fixture
def shop(dsn: str) -> Iterator[Shop]:
    shop = Shop(dsn)
    yield shop
    shop.connection.close()


@pytest.fixture
def waiter(dsn: str) -> Iterator[Waiter]:
    with Waiter(dsn) as waiter:
        yield waiter


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(50) as pool:
        yield pool


@pytest.fixture
def only_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks again by himself: what is found, a ring has told."""
    monkeypatch.setattr(lookout, "_EVERY", 3600.0)
    monkeypatch.setattr(lookout, "_FIRST_STEP", 3600.0)


def waits(pool: ThreadPoolExecutor, waiter: Waiter, job: Any) -> "Future[Any]":
    """Somebody who waits already."""
    reads = waiter._lookout.reads
    future = pool.submit(waiter.wait, job, timeout=LONG)
    eventually(lambda: waiter._lookout.reads > reads)
    return future


# What a wait comes to


def test_acceptance_1_and_9_add_wait_and_the_result_is_there_also_afterwards(
    dsn: str, tmp_path: Path
) -> None:
    with Stage(dsn, tmp_path) as stage, Waiter(dsn) as waiter:
        (job,) = stage.enqueue(wait.job("go"))
        stage.journal.open_gate("go")
        stage.start()

        assert waiter.wait(job, timeout=LONG) == "go"

        assert stage.value("SELECT count(*) FROM pgqueue.jobs") == 0
        assert waiter.wait(job, timeout=LONG) == "go"


def test_a_coroutine_is_given_the_result(shop: Shop, waiter: Waiter) -> None:
    job = shop.running()

    async def story() -> Any:
        waiting = asyncio.create_task(waiter.wait_async(job.id, timeout=LONG))
        await until(lambda: waiter._lookout.reads > 0)
        shop.end(succeeded(job, '{"sent": [1, 2.5, null]}'))
        return await waiting

    assert asyncio.run(story()) == {"sent": [1, 2.5, None]}


def test_without_a_result_there_is_none(shop: Shop, waiter: Waiter) -> None:
    job = shop.running()
    shop.end(succeeded(job, None))
    assert waiter.wait(job.id, timeout=LONG) is None


def test_a_dead_job_says_why(shop: Shop, waiter: Waiter) -> None:
    job = shop.running()
    shop.end(died(job))

    with pytest.raises(JobDead, match=r"is dead \(non_retryable\).*KeyError: no such user") as dead:
        waiter.wait(job.id, timeout=LONG)

    assert (dead.value.job_id, dead.value.task, dead.value.attempts) == (job.id, "work", 1)
    assert (dead.value.reason, dead.value.error_type) == ("non_retryable", "KeyError")
    assert dead.value.message == "no such user"
    assert pgqueue.discard(shop.connection, job.id, reason="seen") == "discarded"
    with pytest.raises(JobDead, match="no such user"):
        waiter.wait(job.id, timeout=LONG)


def test_a_dead_job_that_is_redriven_can_be_waited_for_again(shop: Shop, waiter: Waiter) -> None:
    job = shop.running()
    shop.end(died(job))
    with pytest.raises(JobDead):
        waiter.wait(job.id, timeout=LONG)
    pgqueue.retry(shop.connection, job.id)
    (again,) = claim(shop.connection)
    shop.end(succeeded(again, "7"))

    assert waiter.wait(job.id, timeout=LONG) == 7


def test_a_cancelled_job_says_so_whether_it_ran_or_not(shop: Shop, waiter: Waiter) -> None:
    running, idle = shop.running(), shop.enqueue()
    shop.end(Cancelled(running, 0, 0, "by hand"))
    pgqueue.cancel(shop.connection, idle, reason="ordered twice")

    with pytest.raises(JobCancelled, match="by hand"):
        waiter.wait(running.id, timeout=LONG)
    with pytest.raises(JobCancelled, match="ordered twice"):
        waiter.wait(idle, timeout=LONG)


def test_a_job_that_leaves_no_trace_is_gone_at_once_for_who_saw_it(
    shop: Shop, waiter: Waiter, pool: ThreadPoolExecutor
) -> None:
    job = shop.running(keep=0)
    waiting = waits(pool, waiter, job.id)

    shop.end(succeeded(job))

    with pytest.raises(JobGone, match="was running, and has left no trace") as gone:
        waiting.result(LONG)
    assert gone.value.state == "running"


def test_a_job_nobody_ever_saw_is_gone_when_time_is_up(shop: Shop, waiter: Waiter) -> None:
    with psycopg.connect(shop.dsn) as connection:
        job = pgqueue.enqueue(connection, WORK)
        connection.rollback()

    with pytest.raises(JobGone, match="never seen"):
        waiter.wait(job, timeout=0.3)


def test_a_job_that_is_committed_later_is_waited_for(
    shop: Shop, waiter: Waiter, pool: ThreadPoolExecutor
) -> None:
    with psycopg.connect(shop.dsn) as connection:
        job = pgqueue.enqueue(connection, WORK)
        waiting = waits(pool, waiter, job.id)
        connection.commit()
    (claimed,) = claim(shop.connection)
    shop.end(succeeded(claimed, '"late"'))

    assert waiting.result(LONG) == "late"


def test_a_wait_that_ends_too_early_says_in_which_state_the_job_is(
    shop: Shop, waiter: Waiter
) -> None:
    job = shop.running()

    with pytest.raises(WaitTimeout, match=rf"{job.id} \(running\)") as late:
        waiter.wait(job.id, timeout=0.2)

    assert late.value.states == {job.id: "running"}
    assert isinstance(late.value, TimeoutError)
    shop.end(succeeded(job, "1"))
    assert waiter.wait(job.id, timeout=LONG) == 1


def test_a_retry_is_not_the_end(shop: Shop, waiter: Waiter, pool: ThreadPoolExecutor) -> None:
    job = shop.running()
    waiting = waits(pool, waiter, job.id)
    shop.end(Retried(job, 0, 0, Failure("E", "e", None, "f"), 0))
    (again,) = claim(shop.connection)
    shop.end(succeeded(again, "2"))

    assert waiting.result(LONG) == 2


@pytest.mark.parametrize("timeout", [0, -1, None, True, "5"])
def test_a_wait_without_an_end_is_refused(waiter: Waiter, timeout: Any) -> None:
    with pytest.raises(InvalidOption, match="timeout"):
        waiter.wait(1, timeout=timeout)


@pytest.mark.parametrize("job", [0, -1, 2**63, True, "1", None, NewJob("work")])
def test_what_is_no_job_is_refused(waiter: Waiter, job: Any) -> None:
    with pytest.raises(InvalidOption, match="job"):
        waiter.wait(job, timeout=1)


# In the transaction that enqueued it


@pytest.fixture(params=KINDS.values(), ids=list(KINDS))
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param  # type: ignore[no-any-return]


def test_to_wait_inside_the_transaction_that_enqueued_is_refused_at_once(
    dsn: str, waiter: Waiter, shop: Shop, kind: Kind
) -> None:
    with kind(dsn) as application:
        job = application.enqueue(WORK)
        many = application.enqueue_many([WORK, WORK])
        for each in [job, *many]:
            assert each.is_in_transaction
            with pytest.raises(WaitInsideTransaction, match="commit first"):
                waiter.wait(each, timeout=LONG)

        application.commit()

        assert not job.is_in_transaction
        shop.end(*(succeeded(each, "3") for each in claim(shop.connection)))
        assert waiter.wait(job, timeout=LONG) == 3
        application.execute("SELECT 1")  # another transaction of the same connection
        assert waiter.wait(many[0], timeout=LONG) == 3


def test_what_a_connection_commits_by_itself_can_be_waited_for(
    dsn: str, waiter: Waiter, shop: Shop, kind: Kind
) -> None:
    with kind(dsn, autocommit=True) as application:
        job = application.enqueue(WORK)
        (claimed,) = claim(shop.connection)
        shop.end(succeeded(claimed, "4"))
        assert waiter.wait(job, timeout=LONG) == 4


def test_a_handle_keeps_no_connection_alive_and_can_be_copied(dsn: str) -> None:
    connection = psycopg.connect(dsn)
    job = pgqueue.enqueue(connection, WORK)
    connection.rollback()
    connection.close()
    assert not job.is_in_transaction
    del connection

    assert not job.is_in_transaction
    assert (
        pickle.loads(pickle.dumps(job)) == copy.copy(job) == job == Enqueued(job.id, False, False)
    )
    assert len({job, copy.copy(job)}) == 1
    assert job.inserted


# Many at once


def test_many_come_in_their_order_with_what_became_of_each(shop: Shop, waiter: Waiter) -> None:
    jobs = [shop.running(keep=pgqueue.Keep(cancelled=0)) for _ in range(4)]
    shop.end(succeeded(jobs[2], "2"))
    shop.end(died(jobs[0]))
    shop.end(succeeded(jobs[1], "1"), Cancelled(jobs[3], 0, 0, None))

    gone = jobs[3].id
    first, second, third, again = waiter.wait_many(
        [*(job.id for job in jobs[:3]), jobs[1].id], timeout=LONG
    )

    assert [first.id, second.id, third.id] == [job.id for job in jobs[:3]]
    assert (second.value(), third.value(), again) == (1, 2, second)
    assert isinstance(first.error, JobDead)
    with pytest.raises(JobDead):
        first.value()
    (lost,) = waiter.wait_many([gone], timeout=0.2)
    assert isinstance(lost.error, JobGone)
    assert waiter.wait_many([], timeout=LONG) == []


def test_when_some_are_not_over_in_time_the_others_are_not_lost(shop: Shop, waiter: Waiter) -> None:
    done, running, never = shop.running(), shop.running(), 10**9
    shop.end(succeeded(done, "1"))

    with pytest.raises(WaitTimeout, match="1 job") as late:
        waiter.wait_many([running.id, never, done.id], timeout=0.3)

    assert late.value.states == {running.id: "running"}
    assert [each.id for each in late.value.finished] == [never, done.id]
    assert isinstance(late.value.finished[0].error, JobGone)


def test_jobs_come_as_they_are_completed(shop: Shop, waiter: Waiter) -> None:
    jobs = [shop.running() for _ in range(3)]
    completed = waiter.as_completed([job.id for job in jobs], timeout=LONG)
    for job in reversed(jobs):
        shop.end(succeeded(job, str(job.id)))
        finished = next(iter(completed))
        assert (finished.id, finished.value()) == (job.id, job.id)
    assert list(completed) == []


def test_coroutines_loop_over_them_as_well(shop: Shop, dsn: str) -> None:
    jobs = [shop.running() for _ in range(3)]

    async def story() -> list[int]:
        async with Waiter(dsn) as waiter:
            found = []
            async for finished in waiter.as_completed([job.id for job in jobs], timeout=LONG):
                found.append(finished.id)
                if len(found) == 1:
                    shop.end(*(succeeded(job) for job in jobs[1:]))
            assert [each.id for each in await waiter.wait_many_async(found, timeout=LONG)] == found
            return found

    shop.end(succeeded(jobs[0]))
    assert asyncio.run(story()) == [job.id for job in jobs]


def test_a_job_is_followed_from_state_to_state(shop: Shop, waiter: Waiter) -> None:
    job_id = shop.enqueue()
    seen = []
    for status in waiter.watch(job_id, timeout=LONG):
        seen.append((status.state, status.done, status.detail))
        if status.state == "available":
            (job,) = claim(shop.connection)
        elif status.done is None and status.state == "running":
            shop.sql(
                "INSERT INTO pgqueue.progress (job_id, attempt, updated_at, done, total, detail)"
                " VALUES (%s, 1, now(), 5, 10, %s)",
                job_id,
                '{"step": "pages"}',
            )
        elif status.state == "running":
            shop.end(succeeded(job, '"book"'))
    step = {"step": "pages"}
    assert seen == [
        ("available", None, None),
        ("running", None, None),
        ("running", 5, step),
        ("succeeded", 5, step),
    ]
    assert (status.is_over, status.result, status.total) == (True, "book", 10)


def test_to_follow_a_dead_job_raises_nothing_and_a_missing_one_does(
    shop: Shop, waiter: Waiter
) -> None:
    job = shop.running()
    shop.end(died(job))
    (status,) = waiter.watch(job.id, timeout=LONG)
    assert (status.state, status.reason, status.error) == ("dead", "non_retryable", "no such user")
    with pytest.raises(JobGone):
        list(waiter.watch(10**9, timeout=0.2))

    async def story() -> list[str]:
        idle = shop.enqueue()
        states: list[str] = []
        try:
            async for status in waiter.watch(idle, timeout=0.3):
                states.append(status.state)
        except WaitTimeout:
            states.append("late")
        return states

    assert asyncio.run(story()) == ["available", "late"]


def test_a_status_is_read_on_any_connection(dsn: str, shop: Shop, kind: Kind) -> None:
    job = shop.running()
    with kind(dsn) as application:
        find: Any = pgqueue.find_status_async if application._runner else pgqueue.find_status
        assert application.do(find(application.connection, job.id)).state == "running"
        application.rollback()
        shop.end(succeeded(job, "5"))
        status = application.do(find(application.connection, job.id))
        assert (status.state, status.result, status.is_over) == ("succeeded", 5, True)
        with pytest.raises(JobNotFound):
            application.do(find(application.connection, 10**9))


# Results


@dataclass
class Receipt:
    amount: int


@pytest.mark.filterwarnings("ignore::pgqueue.LargePayload")
def test_results_come_as_the_task_returned_them_if_the_task_is_known(dsn: str) -> None:
    tasks = Tasks()

    @tasks.task("pay")
    async def pay(amount: int) -> Receipt:
        return Receipt(amount)

    @tasks.task("huge", max_attempts=1)
    async def huge(size: int) -> str:
        return "x" * (size - 2)

    with psycopg.connect(dsn) as connection:
        paid, fits, too_large = pgqueue.enqueue_many(
            connection, [pay.job(7), huge.job(1 << 20), huge.job((1 << 20) + 1)]
        )

    async def story() -> None:
        quickly = Settings(poll=timedelta(milliseconds=100))
        async with Worker(tasks, dsn, quickly), Waiter(dsn, tasks=tasks) as waiter:
            assert await waiter.wait_async(paid, timeout=LONG) == Receipt(7)
            assert len(await waiter.wait_async(fits, timeout=LONG)) == (1 << 20) - 2
            with pytest.raises(JobDead, match="1048577 bytes of JSON are more than"):
                await waiter.wait_async(too_large, timeout=LONG)

    asyncio.run(story())

    with Waiter(dsn) as stranger:
        assert stranger.wait(paid, timeout=LONG) == {"$dataclass": ["Receipt", {"amount": 7}]}
    others = Tasks()

    @others.task("pay")
    async def pay_otherwise(amount: int) -> int:
        return amount

    with Waiter(dsn, tasks=others) as waiter, pytest.raises(UndecodablePayload, match="Receipt"):
        waiter.wait(paid, timeout=LONG)


# One line for all


def test_a_thousand_waits_share_one_connection_and_one_reading_a_second(
    shop: Shop, dsn: str
) -> None:
    jobs = [each.id for each in pgqueue.enqueue_many(shop.connection, [WORK] * 1000)]
    held = {job.id: job for job in claim(shop.connection)}

    async def story() -> None:
        async with Waiter(dsn) as waiter, asyncio.TaskGroup() as group:
            waiting = [group.create_task(waiter.wait_async(job, timeout=LONG)) for job in jobs]
            await until(lambda: waiter._lookout._step >= 1.0)
            assert len(shop.lines()) == 1
            assert len([t for t in threading.enumerate() if t.name == "pgqueue-waiter"]) == 1

            began, reads = time.monotonic(), waiter._lookout.reads
            calls = _calls(shop)
            await until(lambda: waiter._lookout.reads >= reads + 3)
            assert time.monotonic() - began > 2.0
            assert calls is None or _calls(shop) == calls + 3

            shop.end(*(succeeded(held[job], str(job)) for job in jobs))
            assert [await each for each in waiting] == jobs

    asyncio.run(story())


def _calls(shop: Shop) -> int | None:
    """How often the server was asked for states, if it counts that."""
    if not shop.sql("SELECT 1 FROM pg_extension WHERE extname = 'pg_stat_statements'"):
        return None
    ((calls,),) = shop.sql(
        "SELECT sum(calls) FROM pg_stat_statements WHERE query LIKE '%%pgqueue.progress%%'"
    )
    return int(calls)


@pytest.mark.usefixtures("only_told")
def test_a_finish_rings_whoever_waits(shop: Shop, waiter: Waiter, pool: ThreadPoolExecutor) -> None:
    """Success, death and cancellation: nobody looks, and it is known."""
    jobs = [shop.running() for _ in range(3)]
    idle = shop.enqueue()
    waiting = [waits(pool, waiter, each) for each in [*(job.id for job in jobs), idle]]

    shop.end(succeeded(jobs[0], "1"))
    assert waiting[0].result(LONG) == 1
    shop.end(died(jobs[1]))
    with pytest.raises(JobDead):
        waiting[1].result(LONG)
    shop.end(Cancelled(jobs[2], 0, 0, None))
    with pytest.raises(JobCancelled):
        waiting[2].result(LONG)
    pgqueue.cancel(shop.connection, idle)
    with pytest.raises(JobCancelled):
        waiting[3].result(LONG)


@pytest.mark.usefixtures("only_told")
def test_a_job_that_ends_after_the_bell_is_held_and_before_it_is_read_is_not_missed(
    shop: Shop, waiter: Waiter, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = shop.running()
    hold = line.Line.hold_bell

    def hold_then_finish(self: line.Line) -> bool:
        held = hold(self)
        if held:
            shop.end(succeeded(job, "1"))
        return held

    monkeypatch.setattr(line.Line, "hold_bell", hold_then_finish)
    assert waiter.wait(job.id, timeout=LONG) == 1


@pytest.mark.usefixtures("only_told")
def test_a_job_that_ends_while_it_is_read_is_not_missed(
    shop: Shop, waiter: Waiter, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ring arrives together with an answer that does not know of it yet."""
    job = shop.running()
    waits(pool, waiter, shop.enqueue())  # the lookout rests, and is woken by the wait below
    read = line.Line.read
    reads: list[int] = []

    def read_then_finish(self: line.Line, ids: list[int]) -> dict[int, Any]:
        found = read(self, ids)
        reads.append(len(found))
        if len(reads) == 1:
            shop.end(succeeded(job, "1"))
            assert self._connection is not None
            # What is told during a statement comes with its answer, and stirs no socket later.
            self._connection.execute("SELECT pg_sleep(0.3)")
        return found

    monkeypatch.setattr(line.Line, "read", read_then_finish)
    assert waiter.wait(job.id, timeout=LONG) == 1
    assert len(reads) == 2
    waiter.close()  # for who waits for the other job


def test_a_finish_that_rang_nobody_because_nobody_waited_yet_is_found_soon(
    shop: Shop, waiter: Waiter, pool: ThreadPoolExecutor
) -> None:
    job = shop.running()
    with psycopg.connect(shop.dsn) as slow:
        shop.end(succeeded(job, "1"), on=slow)  # probes the bell, and is not committed
        waiting = waits(pool, waiter, job.id)
        slow.commit()
    assert waiting.result(LONG) == 1


def test_what_nothing_rings_for_is_found_by_looking(
    shop: Shop, waiter: Waiter, pool: ThreadPoolExecutor
) -> None:
    job = shop.enqueue(expires=timedelta(seconds=0))
    waiting = waits(pool, waiter, job)
    shop.sql(
        "UPDATE pgqueue.jobs SET state = 'dead', reason = 'expired', died_at = now() WHERE id = %s",
        job,
    )
    with pytest.raises(JobDead, match="expired"):
        waiting.result(LONG)


def test_behind_a_transaction_pooler_it_looks_and_holds_nothing(
    shop: Shop, waiter: Waiter, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line, "is_pooled", lambda connection: True)
    job = shop.running()
    waiting = waits(pool, waiter, job.id)
    assert not shop.bell_is_held()
    assert waiter._lookout._line._connection is not None
    shop.end(succeeded(job, "1"))
    assert waiting.result(LONG) == 1


def test_finishes_ring_only_while_somebody_waits(
    shop: Shop, waiter: Waiter, pool: ThreadPoolExecutor
) -> None:
    job = shop.running()
    assert not shop.bell_is_held()
    waiting = waits(pool, waiter, job.id)
    assert shop.bell_is_held()
    shop.end(succeeded(job))
    waiting.result(LONG)
    eventually(lambda: not shop.bell_is_held())

    with pytest.raises(WaitTimeout):
        waiter.wait(shop.enqueue(), timeout=0.2)
    eventually(lambda: not shop.bell_is_held())


def test_whoever_stops_looping_or_is_cancelled_is_not_looked_after_any_more(
    shop: Shop, waiter: Waiter
) -> None:
    job = shop.enqueue()
    for _ in waiter.watch(job, timeout=LONG):
        break
    eventually(lambda: not shop.bell_is_held())

    async def story() -> None:
        waiting = asyncio.create_task(waiter.wait_async(job, timeout=LONG))
        await until(shop.bell_is_held)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(story())
    eventually(lambda: not shop.bell_is_held())


def test_no_outcome_is_missed_in_five_thousand_races(shop: Shop, dsn: str) -> None:
    """Waits begin just before, while and after their jobs end."""
    number = 5000
    chance = random.Random(5)
    pgqueue.enqueue_many(shop.connection, [WORK.options(max_attempts=1)] * number)
    jobs = claim(shop.connection, limit=number)
    chance.shuffle(jobs)
    batches = [jobs[first : first + 20] for first in range(0, number, 20)]

    def outcome(job: Job) -> Outcome:
        return died(job) if job.id % 3 == 0 else succeeded(job, str(job.id))

    async def story() -> None:
        async with Waiter(dsn) as waiter, asyncio.timeout(LONG * 2):
            for batch in batches:
                waiting = [
                    asyncio.create_task(waiter.wait_many_async([job.id], timeout=LONG))
                    for job in batch[:10]
                ]
                await asyncio.sleep(chance.random() * 0.004)
                ending = asyncio.create_task(
                    asyncio.to_thread(shop.end, *(outcome(job) for job in batch))
                )
                await asyncio.sleep(chance.random() * 0.002)
                waiting += [
                    asyncio.create_task(waiter.wait_many_async([job.id], timeout=LONG))
                    for job in batch[10:]
                ]
                await ending
                answers = [(await each)[0] for each in waiting]
                for job, finished in zip(batch, answers, strict=True):
                    if job.id % 3 == 0:
                        assert isinstance(finished.error, JobDead)
                    else:
                        assert finished.value() == job.id

    asyncio.run(story())


# It heals itself, and says what it cannot heal


def test_a_line_that_is_cut_is_mended(shop: Shop, waiter: Waiter, pool: ThreadPoolExecutor) -> None:
    job = shop.running()
    waiting = waits(pool, waiter, job.id)
    for _ in range(3):
        (pid,) = shop.lines()
        shop.sql("SELECT pg_terminate_backend(%s)", pid)
        eventually(lambda pid=pid: shop.lines() not in ([], [pid]) and shop.bell_is_held())
    shop.end(succeeded(job, "1"))
    assert waiting.result(LONG) == 1


def test_an_outage_is_outlived_and_said_once(
    own_server: Server, pool: ThreadPoolExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "pgqueue.waiter")
    migrate.upgrade(own_server.dsn())
    shop = Shop(own_server.dsn())
    job = shop.running()
    with Waiter(own_server.dsn()) as waiter:
        waiting = waits(pool, waiter, job.id)
        own_server.stop()
        eventually(lambda: caplog.records)
        with pytest.raises(WaitTimeout, match="did not answer"):
            waiter.wait(job.id, timeout=1)
        own_server.start()
        shop.connection.close()
        shop = Shop(own_server.dsn())
        shop.end(succeeded(job, "1"))
        assert waiting.result(LONG) == 1
        eventually(lambda: len(caplog.records) == 2)
    assert "the database is back" in caplog.text
    shop.connection.close()


def test_what_no_patience_mends_is_said_at_once(empty_dsn: str) -> None:
    with Waiter(empty_dsn) as waiter, pytest.raises(SchemaMismatch, match="pgqueue migrate"):
        waiter.wait(1, timeout=LONG)
    with (
        Waiter(dsn_of(empty_dsn, "no_such_database")) as waiter,
        pytest.raises(WaitFailed, match="no_such_database"),
    ):
        waiter.wait(1, timeout=LONG)
    with pytest.raises(InvalidOption, match="dsn"):
        Waiter("this is no dsn")


def test_after_a_refusal_the_next_wait_tries_again(empty_dsn: str) -> None:
    with Waiter(empty_dsn) as waiter:
        with pytest.raises(SchemaMismatch):
            waiter.wait(1, timeout=LONG)
        migrate.upgrade(empty_dsn)
        with pytest.raises(JobGone):
            waiter.wait(1, timeout=1)


def test_a_waiter_that_is_closed_tells_whoever_waits_and_disconnects(
    shop: Shop, waiter: Waiter, pool: ThreadPoolExecutor
) -> None:
    waiting = waits(pool, waiter, shop.enqueue())
    waiter.close()
    with pytest.raises(WaitFailed, match="closed"):
        waiting.result(LONG)
    with pytest.raises(WaitFailed, match="closed"):
        waiter.wait(1, timeout=LONG)
    eventually(lambda: not shop.lines())
    waiter.close()


def test_without_waits_there_is_no_connection_in_the_long_run(
    shop: Shop, waiter: Waiter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookout, "_IDLE", 0.1)
    job = shop.running()
    shop.end(succeeded(job, "1"))
    for _ in range(2):
        assert waiter.wait(job.id, timeout=LONG) == 1
        eventually(lambda: not shop.lines())


FORK = """
import os, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from pgqueue import Waiter

dsn, job = sys.argv[1], int(sys.argv[2])
waiter = Waiter(dsn)
assert waiter.wait(job, timeout=30) == 1
child = os.fork()
assert waiter.wait(job, timeout=30) == 1
if not child:
    waiter.close()
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert waiter.wait(job, timeout=30) == 1
"""


def test_a_forked_child_has_a_line_of_its_own(shop: Shop) -> None:
    job = shop.running()
    shop.end(succeeded(job, "1"))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORK, shop.dsn, str(job.id)],
        env=environment(shop.dsn),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
