"""Oban for Python: enqueue_many by the thousand, a queue with a high limit."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from oban import Job, Oban, worker
from oban.schema import install as install_schema

from bench.peers.frame import DSN, count, main, payload

CHUNK = 1_000
LIMIT, POOL = 2_000, 10


@worker(queue="default")
class Noop:
    async def process(self, job: Job) -> None:
        count(job.args["user_id"])


@asynccontextmanager
async def client(connections: int) -> AsyncIterator[Oban]:
    pool = await Oban.create_pool(DSN, min_size=connections, max_size=connections)
    try:
        yield Oban(pool=pool)
    finally:
        await pool.close()


async def install() -> None:
    pool = await Oban.create_pool(DSN, min_size=1, max_size=1)
    await install_schema(pool)
    await pool.close()


@asynccontextmanager
async def bulk() -> AsyncIterator[Callable[[range], Awaitable[None]]]:
    async with client(1) as oban:

        async def send(numbers: range) -> None:
            for start in range(0, len(numbers), CHUNK):
                jobs = [Noop.new(payload(number)) for number in numbers[start : start + CHUNK]]
                await oban.enqueue_many(jobs)

        yield send


@asynccontextmanager
async def single() -> AsyncIterator[Callable[[int], Awaitable[object]]]:
    async with client(1) as oban:
        yield lambda number: oban.enqueue(Noop.new(payload(number)))


async def work(stop: asyncio.Event) -> None:
    pool = await Oban.create_pool(DSN, min_size=2, max_size=POOL)
    async with Oban(pool=pool, queues={"default": LIMIT}):
        await stop.wait()
    await pool.close()


main(install=install, bulk=bulk, single=single, work=work)
