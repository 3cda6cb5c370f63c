"""Awa: enqueue by COPY, jobs in its append-only storage, one claimer and many workers a process.

A fresh installation uses its older tables until a worker has started on it once.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import awa

from bench.peers.frame import DSN, count, main, payload

URL = DSN.replace("@/", "@localhost/", 1)
"""Its driver wants a host before it reads the one that the query names, which is a socket."""
CHUNK = 5_000
WORKERS, CLAIM = 1_024, 512
POLL_MS = 200
CONNECTIONS = 10


@dataclass
class Noop:
    user_id: int
    template: str
    pad: str


def client(connections: int) -> awa.AsyncClient:
    made = awa.AsyncClient(URL, connections)

    @made.task(Noop, queue="noop")
    async def noop(job: awa.Job) -> None:
        count(job.args.user_id)

    return made


async def install() -> None:
    first = client(CONNECTIONS)
    await first.migrate()
    await first.start([{"name": "noop", "max_workers": 1}])
    async with asyncio.timeout(30):
        while json.loads(await first.storage_status())["active_engine"] != "queue_storage":  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    await first.shutdown()


@asynccontextmanager
async def bulk() -> AsyncIterator[Callable[[range], Awaitable[None]]]:
    own = client(CONNECTIONS)

    async def send(numbers: range) -> None:
        for start in range(0, len(numbers), CHUNK):
            jobs = [Noop(**payload(number)) for number in numbers[start : start + CHUNK]]
            await own.enqueue_many_copy(jobs, queue="noop")

    yield send


@asynccontextmanager
async def single() -> AsyncIterator[Callable[[int], Awaitable[object]]]:
    own = client(1)
    yield lambda number: own.insert(Noop(**payload(number)), queue="noop")


async def work(stop: asyncio.Event) -> None:
    own = client(CONNECTIONS)
    queue = {"name": "noop", "max_workers": WORKERS, "claim_batch_size": CLAIM}
    await own.start([queue], poll_interval_ms=POLL_MS)
    await stop.wait()
    await own.shutdown()


main(install=install, bulk=bulk, single=single, work=work)
