"""Celery on Redis: acks_late (or a dying worker loses jobs), JSON, no results, prefork of two.

It has no bulk API: bulk is a loop with one producer. Its client is blocking: the connections of
"single" are threads.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from celery import Celery

from bench.peers.frame import DSN, count, main, payload

app = Celery("bench", broker=DSN)
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=4,
    worker_send_task_events=False,
    broker_connection_retry_on_startup=True,
)


@app.task(name="noop")
def noop(user_id: int, template: str, pad: str) -> None:
    count(user_id)


async def install() -> None:
    pass


@asynccontextmanager
async def bulk() -> AsyncIterator[Callable[[range], Awaitable[None]]]:
    with app.producer_or_acquire() as producer:

        async def send(numbers: range) -> None:
            for number in numbers:
                noop.apply_async(kwargs=payload(number), producer=producer)

        yield send


@asynccontextmanager
async def single() -> AsyncIterator[Callable[[int], Awaitable[object]]]:
    with app.producer_or_acquire() as producer:

        def send(number: int) -> None:
            noop.apply_async(kwargs=payload(number), producer=producer)

        yield lambda number: asyncio.to_thread(send, number)


async def work(stop: asyncio.Event) -> None:
    words = ["worker", "-l", "WARNING", "-c", "2", "-P", "prefork", "-n", f"w{os.getpid()}@bench"]
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    app.worker_main([*words, *quiet])


main(install=install, bulk=bulk, single=single, work=work)
