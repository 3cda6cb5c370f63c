"""The chores of a worker, done by themselves."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from datetime import timedelta

import psycopg
import pytest

from pgqueue.storage import schema
from pgqueue.storage.operation import Operation
from pgqueue.worker import Settings
from pgqueue.worker.clock import boottime
from pgqueue.worker.maintenance import Chore, Maintenance
from pgqueue.worker.session import Session
from tests.rows import add, claim_one, job_row, lapse


@contextlib.asynccontextmanager
async def at_work(maintenance: Maintenance) -> AsyncIterator[None]:
    """Its chores run, until the ``async with`` ends."""
    chores = asyncio.create_task(maintenance.run())
    try:
        yield
    finally:
        chores.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await chores
        await maintenance.session.close()


def test_after_an_outage_the_living_renew_before_anything_is_rescued(dsn: str) -> None:
    """Every lease has run out then, and whoever is back first would take the jobs of all."""
    lease = timedelta(seconds=2)

    async def rescued_after(connection: psycopg.Connection, job_id: int) -> float:
        maintenance = Maintenance(Session(dsn, "maintenance"), Settings(lease=lease))
        async with at_work(maintenance), asyncio.timeout(30):
            while job_row(connection, job_id).state == "running":
                await asyncio.sleep(0.02)
            return boottime() - maintenance.session.opened_at

    with psycopg.connect(dsn, autocommit=True) as connection:
        job_id = add(connection)
        claim_one(connection)
        lapse(connection)
        assert asyncio.run(rescued_after(connection, job_id)) >= lease.total_seconds() / 3 + 2
        assert job_row(connection, job_id).state == "available"


def test_a_worker_that_froze_in_the_middle_of_a_chore_lets_the_living_renew_first(dsn: str) -> None:
    """Its own heartbeat is among them: it would take its own jobs back."""
    lease = timedelta(seconds=2)
    woke_at: list[float] = []

    async def rescued_after(connection: psycopg.Connection) -> float:
        settings = Settings(lease=lease, rescue_every=timedelta(seconds=0.05))
        maintenance = Maintenance(Session(dsn, "maintenance"), settings)

        async def freeze() -> float:
            claim_one(connection)
            lapse(connection)
            time.sleep(1.2)  # noqa: ASYNC251  more than half a lease
            woke_at.append(boottime())
            return 3600.0

        # Once it has been up for so long that it rescues at once.
        patience = lease.total_seconds() / 3 + 2.5
        frost = Chore("freeze", freeze, due_at=boottime() + patience)
        maintenance._chores.insert(0, frost)
        async with at_work(maintenance), asyncio.timeout(30):
            while not woke_at or job_row(connection, job_id).state == "running":
                await asyncio.sleep(0.02)
            return boottime() - woke_at[0]

    with psycopg.connect(dsn, autocommit=True) as connection:
        job_id = add(connection)
        assert asyncio.run(rescued_after(connection)) >= lease.total_seconds() / 3 + 2 - 0.1


def test_a_worker_that_froze_as_it_connected_lets_the_living_renew_first(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = timedelta(seconds=2)
    woke_at: list[float] = []
    require_home = schema.require_home

    def freeze() -> Operation[schema.Identity]:
        home = yield from require_home()
        claim_one(connection)
        lapse(connection)
        time.sleep(lease.total_seconds() / 3 + 2.1)  # it has been connected for so long then
        woke_at.append(boottime())
        return home

    async def rescued_after() -> float:
        maintenance = Maintenance(Session(dsn, "maintenance"), Settings(lease=lease))
        monkeypatch.setattr(schema, "require_home", freeze)
        async with at_work(maintenance), asyncio.timeout(30):
            while not woke_at or job_row(connection, job_id).state == "running":
                await asyncio.sleep(0.02)
            return boottime() - woke_at[0]

    with psycopg.connect(dsn, autocommit=True) as connection:
        job_id = add(connection)
        assert asyncio.run(rescued_after()) >= lease.total_seconds() / 3 + 2 - 0.1
