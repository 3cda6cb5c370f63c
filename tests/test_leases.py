"""Leases last as long as their handlers ask, and a handler that asks is told how it stands."""

import asyncio
import threading
import time
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from pgqueue import Context, Tasks
from pgqueue.context import Why
from pgqueue.outcome import Released
from pgqueue.storage import jobs
from pgqueue.storage.drivers import run
from pgqueue.worker import Settings, Worker, leases
from pgqueue.worker.clock import boottime
from pgqueue.worker.holdings import Hold, Terms
from pgqueue.worker.leases import Leases
from tests.crew import make
from tests.rows import LEASE, WORKER, add, claim
from tests.test_worker import enqueue, rows, until, until_state

Connection = psycopg.Connection[Any]

LEFT = "SELECT extract(epoch FROM lease_until - now())::float8 FROM pgqueue.jobs WHERE id = %s"


def held(*, ago: float = 0.0, terms: Terms | None = None, started: bool = True) -> Hold:
    """A job whose lease was renewed so long *ago*."""
    hold = Hold(make("echo"), boottime() - ago)
    hold.terms = terms
    hold.started = hold.leased_at if started else None
    return hold


def test_each_lease_is_renewed_for_its_own_length(connection: Connection) -> None:
    first, second = add(connection), add(connection)
    claim(connection)
    renewed = run(
        connection,
        jobs.renew(
            worker_id=WORKER,
            ids=[second, first],
            attempts=[1, 1],
            lease=LEASE,
            own={second: timedelta(minutes=10)},
        ),
    )
    assert {each.id for each in renewed} == {first, second}
    left = [connection.execute(LEFT, [job_id]).fetchone() for job_id in (first, second)]
    assert [row and round(row[0]) for row in left] == [30, 600]


def test_a_lease_is_as_long_as_usual_unless_something_was_said() -> None:
    kept = Leases(30, on_ask=lambda: None)
    assert kept.wanted(held()) == 30
    assert kept.wanted(held(terms=Terms(300))) == 300
    assert kept.wanted(held(terms=Terms(3))) == 30, "the worker renews no more often for it"


def test_a_manual_lease_is_renewed_once_for_each_time_its_handler_asks() -> None:
    kept = Leases(30, on_ask=lambda: None)
    hold = held(ago=10, terms=Terms(manual=True))
    assert kept.wanted(hold) == 30, "the start of the handler counts as its first word"
    kept.renewed(hold, 30, boottime())
    assert kept.wanted(hold) is None
    kept.ask(hold, 5)
    assert kept.wanted(hold) == 5
    sent = boottime()
    kept.ask(hold, 6)
    kept.renewed(hold, 5, sent)
    assert kept.wanted(hold) == 6, "what is asked while a renewal is under way is for the next"


def test_a_manual_lease_is_renewed_as_any_other_while_its_handler_does_not_run() -> None:
    """It waits for a slot, for a process or for its outcome to be written: no fault of the
    handler's."""
    kept = Leases(30, on_ask=lambda: None)
    assert kept.wanted(held(terms=Terms(5, manual=True), started=False)) == 30
    starting = held(terms=Terms(5, manual=True, begun=False))
    assert kept.wanted(starting) == 30
    assert starting.terms is not None
    starting.terms.begin()
    assert kept.wanted(starting) == 5
    over = held(terms=Terms(5, manual=True))
    over.outcome = Released(over.job, 0, 0, "")
    assert kept.wanted(over) == 30


def test_a_renewal_is_asked_for_when_a_third_of_the_wanted_lease_is_gone() -> None:
    asked: list[None] = []
    kept = Leases(30, on_ask=lambda: asked.append(None))
    hold = held()
    for _ in range(100):
        kept.extend(hold, 30)
    assert asked == []
    kept.extend(held(ago=11), 30)
    assert len(asked) == 1
    kept.extend(held(), 300)
    assert len(asked) == 2


def test_who_extends_a_lease_that_ran_out_waits_for_the_answer() -> None:
    kept = Leases(1, on_ask=lambda: None)
    for answer in ("renewed", "locked", "lost"):
        hold = held(ago=60)
        extending = threading.Thread(target=kept.extend, args=(hold, 1))
        extending.start()
        extending.join(0.1)
        assert extending.is_alive(), "it returned before anybody knew"
        if answer == "renewed":
            kept.renewed(hold, 1, boottime())
        elif answer == "locked":
            kept.seen(hold, boottime())
        else:
            hold.stop.request(Why.LOST)
        kept.tell()
        extending.join(3)
        assert not extending.is_alive()


def test_who_extends_a_lease_that_ran_out_goes_on_if_nobody_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As in every outage: nothing is known to be lost."""
    monkeypatch.setattr(leases, "PATIENCE", 0.2)
    began = boottime()
    Leases(1, on_ask=lambda: None).extend(held(ago=60), 1)
    assert 0.2 <= boottime() - began < 3


def test_a_handlers_wish_is_in_the_database_at_once_and_stays(dsn: str) -> None:
    tasks = Tasks()
    extended, gate = asyncio.Event(), asyncio.Event()

    @tasks.task("works", timeout=None)
    async def works(ctx: Context) -> None:
        ctx.extend(600)
        extended.set()
        await gate.wait()

    @tasks.task("patient", timeout=None, lease=timedelta(minutes=5))
    async def patient() -> None:
        await gate.wait()

    job, other = enqueue(dsn, works.job(), patient.job())

    async def work() -> None:
        async with Worker(tasks, dsn, Settings(lease=timedelta(seconds=6))):
            await extended.wait()
            await until(lambda: rows(dsn, LEFT, job)[0][0] > 500, within=1.5)
            await until(lambda: rows(dsn, LEFT, other)[0][0] > 250, within=5)
            ((before,),) = rows(dsn, "SELECT lease_until FROM pgqueue.jobs WHERE id = %s", job)
            renewed = "SELECT 1 FROM pgqueue.jobs WHERE id = %s AND lease_until > %s"
            await until(lambda: rows(dsn, renewed, job, before), within=5)
            assert rows(dsn, LEFT, job)[0][0] > 590
            gate.set()
            await until_state(dsn, job, "succeeded")

    asyncio.run(work())


def test_a_cancel_is_noticed_of_a_job_whose_lease_is_left_alone(dsn: str) -> None:
    """Also without the ring: by looking."""
    tasks = Tasks()
    started = threading.Event()

    @tasks.task("silent", timeout=None, heartbeat="manual", lease=60)
    def silent(ctx: Context) -> None:
        started.set()
        while not ctx.cancelled:
            time.sleep(0.01)
        ctx.check_cancelled()

    (job,) = enqueue(dsn, silent.job())

    async def work() -> None:
        async with Worker(tasks, dsn, Settings(lease=timedelta(seconds=2))):
            await until(started.is_set)
            await until(lambda: rows(dsn, LEFT, job)[0][0] > 50)
            rows(dsn, "UPDATE pgqueue.jobs SET cancel_requested_at = now() WHERE id = %s", job)
            await until_state(dsn, job, "cancelled", within=5)

    asyncio.run(work())
