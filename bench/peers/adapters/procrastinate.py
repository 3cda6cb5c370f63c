"""Procrastinate on psycopg and uvloop: jobs in bulk by batch_defer, many at once in the worker."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from procrastinate import App, PsycopgConnector

from bench.peers.frame import DSN, count, main, payload

CHUNK = 1_000
CONCURRENCY, POOL = 30, 20


def application(connections: int) -> App:
    app = App(connector=PsycopgConnector(conninfo=DSN, min_size=1, max_size=connections))

    @app.task(name="noop")
    async def noop(user_id: int, template: str, pad: str) -> None:
        count(user_id)

    return app


async def install() -> None:
    app = application(1)
    async with app.open_async():
        await app.schema_manager.apply_schema_async()


@asynccontextmanager
async def bulk() -> AsyncIterator[Callable[[range], Awaitable[None]]]:
    app = application(1)
    async with app.open_async():

        async def send(numbers: range) -> None:
            for start in range(0, len(numbers), CHUNK):
                jobs = map(payload, numbers[start : start + CHUNK])
                await app.configure_task("noop").batch_defer_async(*jobs)

        yield send


@asynccontextmanager
async def single() -> AsyncIterator[Callable[[int], Awaitable[object]]]:
    app = application(1)
    async with app.open_async():
        yield lambda number: app.configure_task("noop").defer_async(**payload(number))


async def work(stop: asyncio.Event) -> None:
    app = application(POOL)
    async with app.open_async():
        await app.run_worker_async(concurrency=CONCURRENCY)  # it hears SIGTERM itself


main(install=install, bulk=bulk, single=single, work=work)
