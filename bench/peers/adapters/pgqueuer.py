"""PgQueuer on asyncpg and uvloop. Its docs: install(), autovacuum settings, a large batch_size."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries

from bench.peers.frame import DSN, count, main, payload

CHUNK = 5_000
BATCH = 500


@asynccontextmanager
async def queries() -> AsyncIterator[Queries]:
    connection = await asyncpg.connect(DSN)
    try:
        yield Queries(AsyncpgDriver(connection))
    finally:
        await connection.close()


async def install() -> None:
    async with queries() as own:
        await own.install()
        await own.optimize_autovacuum()


@asynccontextmanager
async def bulk() -> AsyncIterator[Callable[[range], Awaitable[None]]]:
    async with queries() as own:

        async def send(numbers: range) -> None:
            for start in range(0, len(numbers), CHUNK):
                bodies = [body(number) for number in numbers[start : start + CHUNK]]
                await own.enqueue(["noop"] * len(bodies), bodies, [0] * len(bodies))

        yield send


@asynccontextmanager
async def single() -> AsyncIterator[Callable[[int], Awaitable[object]]]:
    async with queries() as own:
        yield lambda number: own.enqueue("noop", body(number), 0)


async def work(stop: asyncio.Event) -> None:
    worker = PgQueuer(AsyncpgDriver(await asyncpg.connect(DSN)))

    @worker.entrypoint("noop")
    async def noop(job: Job) -> None:
        count(json.loads(job.payload)["user_id"])

    running = asyncio.create_task(
        worker.run(batch_size=BATCH, dequeue_timeout=timedelta(seconds=30))
    )
    await asyncio.wait([running, asyncio.create_task(stop.wait())], return_when="FIRST_COMPLETED")
    worker.shutdown.set()
    await running


def body(number: int) -> bytes:
    return json.dumps(payload(number)).encode()


main(install=install, bulk=bulk, single=single, work=work)
