"""Whoever waits for a batch is told when nothing is left to run in it, and never waits for ever."""

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from pgqueue import (
    Batch,
    BatchNotFound,
    BatchTimeout,
    InvalidOption,
    NewJob,
    Waiter,
    cancel_batch,
    enqueue_batch,
    retry_batch,
)
from pgqueue.job import Job, Reason
from pgqueue.outcome import Died, Failure, Outcome, Succeeded
from pgqueue.storage.batches import close_batches
from pgqueue.storage.drivers import run
from pgqueue.storage.finishing import finish
from pgqueue.waiter import lookout
from tests.postgres import eventually
from tests.rows import WORKER, claim

LONG = 60.0
"""Seconds that a wait may take which should end at once."""


class Shop:
    """A database, and somebody in it who enqueues batches and ends their jobs."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.connection = psycopg.connect(dsn, autocommit=True)

    def enqueue(self, jobs: int) -> Batch:
        with psycopg.connect(self.dsn) as connection:
            return enqueue_batch(connection, [NewJob("work")] * jobs)

    def claim(self) -> list[Job]:
        return claim(self.connection)

    def end(self, *outcomes: Outcome) -> None:
        run(self.connection, finish(outcomes, worker_id=WORKER, moment=0))


def succeeded(job: Job) -> Succeeded:
    return Succeeded(job, 0, 0, None)


def died(job: Job) -> Died:
    return Died(job, 0, 0, Failure("KeyError", "gone", None, "f"), Reason.NON_RETRYABLE)


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
    with ThreadPoolExecutor(4) as pool:
        yield pool


def test_a_batch_is_waited_for_until_its_last_job_is_over(
    shop: Shop, waiter: Waiter, pool: ThreadPoolExecutor
) -> None:
    batch = shop.enqueue(3)
    first, second, third = shop.claim()
    shop.end(succeeded(first), died(second))
    waits = pool.submit(waiter.wait_batch, batch, timeout=LONG)
    eventually(lambda: waiter._lookout.reads > 1)
    assert not waits.done()

    shop.end(succeeded(third))
    status = waits.result(LONG)

    assert (status.id, status.total) == (batch.id, 3)
    assert (status.succeeded, status.failed, status.pending) == (2, 1, 0)


def test_the_finish_of_its_last_job_rings_and_nobody_has_to_look_again(
    shop: Shop, waiter: Waiter, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookout, "_EVERY", 3600.0)
    monkeypatch.setattr(lookout, "_FIRST_STEP", 3600.0)
    batch = shop.enqueue(1)
    (job,) = shop.claim()
    waits = pool.submit(waiter.wait_batch, batch.id, timeout=LONG)
    eventually(lambda: waiter._lookout.reads > 0)

    shop.end(succeeded(job))

    assert waits.result(LONG / 2).succeeded == 1


def test_what_is_folded_into_a_batch_counts_like_what_is_not(shop: Shop, waiter: Waiter) -> None:
    batch = shop.enqueue(2)
    shop.end(*map(succeeded, shop.claim()))
    before = waiter.wait_batch(batch, timeout=LONG)
    run(shop.connection, close_batches(after_id=0, limit=10))
    after = waiter.wait_batch(batch, timeout=LONG)

    assert (before.succeeded, before.completed_at) == (2, None)
    assert after.succeeded == 2
    assert after.completed_at is not None


def test_a_batch_without_jobs_is_over_at_once(shop: Shop, waiter: Waiter) -> None:
    assert waiter.wait_batch(shop.enqueue(0), timeout=LONG).is_complete


def test_a_coroutine_waits_as_well_and_beside_waits_for_jobs(shop: Shop, dsn: str) -> None:
    batch = shop.enqueue(2)
    first, second = shop.claim()

    async def wait() -> Any:
        async with Waiter(dsn) as waiter:
            waits = asyncio.gather(
                waiter.wait_batch_async(batch, timeout=LONG),
                waiter.wait_many_async([first.id, second.id], timeout=LONG),
            )
            await asyncio.to_thread(shop.end, succeeded(first))
            await asyncio.to_thread(shop.end, succeeded(second))
            return await waits

    status, finished = asyncio.run(wait())
    assert status.succeeded == len(finished) == 2


def test_a_wait_that_ends_too_early_says_how_the_batch_stands(shop: Shop, waiter: Waiter) -> None:
    batch = shop.enqueue(3)
    shop.end(succeeded(shop.claim()[0]))

    with pytest.raises(BatchTimeout, match="2 of 3 jobs are left") as caught:
        waiter.wait_batch(batch, timeout=0.3)

    assert isinstance(caught.value, TimeoutError)
    assert caught.value.status.succeeded == 1


def test_a_batch_that_was_never_committed_is_not_found_when_time_is_up(
    shop: Shop, waiter: Waiter
) -> None:
    with psycopg.connect(shop.dsn) as connection:
        batch = enqueue_batch(connection, [NewJob("work")])
        began = time.monotonic()
        with pytest.raises(BatchNotFound, match="not committed"):
            waiter.wait_batch(batch, timeout=0.3)
        connection.rollback()

    assert time.monotonic() - began >= 0.3


def test_a_batch_that_is_committed_later_is_waited_for(
    shop: Shop, waiter: Waiter, pool: ThreadPoolExecutor
) -> None:
    with psycopg.connect(shop.dsn) as connection:
        batch = enqueue_batch(connection, [NewJob("work")])
        waits = pool.submit(waiter.wait_batch, batch, timeout=LONG)
        eventually(lambda: waiter._lookout.reads > 0)
    shop.end(succeeded(shop.claim()[0]))

    assert waits.result(LONG).is_complete


def test_a_batch_that_is_redriven_is_waited_for_again(shop: Shop, waiter: Waiter) -> None:
    batch = shop.enqueue(1)
    shop.end(died(shop.claim()[0]))
    assert waiter.wait_batch(batch, timeout=LONG).failed == 1

    retry_batch(shop.connection, batch.id)
    with pytest.raises(BatchTimeout):
        waiter.wait_batch(batch, timeout=0.3)
    shop.end(succeeded(shop.claim()[0]))

    assert waiter.wait_batch(batch, timeout=LONG).succeeded == 1


def test_a_cancelled_batch_is_over(shop: Shop, waiter: Waiter) -> None:
    batch = shop.enqueue(2)
    cancel_batch(shop.connection, batch.id)

    assert waiter.wait_batch(batch, timeout=LONG).cancelled == 2


def test_a_batch_that_is_forgotten_meanwhile_is_not_found_at_once(
    shop: Shop, waiter: Waiter, pool: ThreadPoolExecutor
) -> None:
    batch = shop.enqueue(1)
    waits = pool.submit(waiter.wait_batch, batch, timeout=LONG)
    eventually(lambda: waiter._lookout.reads > 0)
    shop.connection.execute("DELETE FROM pgqueue.batches")

    with pytest.raises(BatchNotFound):
        waits.result(LONG / 2)


@pytest.mark.parametrize("batch", [None, 0, True, "7"])
def test_what_is_no_batch_is_refused(waiter: Waiter, batch: Any) -> None:
    with pytest.raises(InvalidOption, match="batch"):
        waiter.wait_batch(batch, timeout=1)


def test_a_wait_without_an_end_is_refused(waiter: Waiter) -> None:
    with pytest.raises(InvalidOption, match="timeout"):
        waiter.wait_batch(1, timeout=0)
