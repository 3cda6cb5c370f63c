"""pgqueue itself, through the same frame as everybody else."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import psycopg

import pgqueue
from bench.peers.frame import DSN, main, payload
from bench.tasks import noop
from pgqueue import migrate

CHUNK = 5_000
SLOTS = 100


async def install() -> None:
    migrate.upgrade(DSN)


@asynccontextmanager
async def bulk() -> AsyncIterator[Callable[[range], Awaitable[None]]]:
    async with await psycopg.AsyncConnection.connect(DSN) as connection:

        async def send(numbers: range) -> None:
            for start in range(0, len(numbers), CHUNK):
                jobs = [noop.job(**payload(n)) for n in numbers[start : start + CHUNK]]
                await pgqueue.enqueue_many_async(connection, jobs)
            await connection.commit()

        yield send


@asynccontextmanager
async def single() -> AsyncIterator[Callable[[int], Awaitable[object]]]:
    async with await psycopg.AsyncConnection.connect(DSN, autocommit=True) as connection:
        yield lambda number: pgqueue.enqueue_async(connection, noop.job(**payload(number)))


async def work(stop: asyncio.Event) -> None:
    words = ["worker", "bench.tasks:tasks", "-q", f"default={SLOTS}", "--log-level", "warning"]
    os.environ["PGQUEUE_DSN"] = DSN
    os.execv(sys.executable, [sys.executable, "-m", "pgqueue.cli", *words])


main(install=install, bulk=bulk, single=single, work=work)
