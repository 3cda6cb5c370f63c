"""BullMQ for Python on its PostgreSQL backend: addBulk, four workers of fifty in a process."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from bullmq import Job, Queue, Worker

from bench.peers.frame import DSN, count, main, payload

CHUNK = 1_000
WORKERS, CONCURRENCY = 4, 50
BACKEND: dict[str, Any] = {"backend": "postgres", "connection": DSN}


@asynccontextmanager
async def queue() -> AsyncIterator[Queue]:
    own = Queue("noop", {**BACKEND, "defaultJobOptions": {"removeOnComplete": True}})
    await own.backend.waitUntilReady()
    try:
        yield own
    finally:
        await own.close()


async def install() -> None:
    async with queue():
        pass


@asynccontextmanager
async def bulk() -> AsyncIterator[Callable[[range], Awaitable[None]]]:
    async with queue() as own:

        async def send(numbers: range) -> None:
            for start in range(0, len(numbers), CHUNK):
                part = numbers[start : start + CHUNK]
                await own.addBulk([{"name": "noop", "data": payload(n)} for n in part])

        yield send


@asynccontextmanager
async def single() -> AsyncIterator[Callable[[int], Awaitable[object]]]:
    async with queue() as own:
        yield lambda number: own.add("noop", payload(number))


async def work(stop: asyncio.Event) -> None:
    async def noop(job: Job, token: str) -> None:
        count(job.data["user_id"])

    workers = [
        Worker("noop", noop, {**BACKEND, "concurrency": CONCURRENCY}) for _ in range(WORKERS)
    ]
    await stop.wait()
    for worker in workers:
        await worker.close()


main(install=install, bulk=bulk, single=single, work=work)
