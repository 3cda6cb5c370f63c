"""What runs around an adapter, in the peer's own virtual environment: times it and nothing else.

Standard library only. An adapter gives four things to :func:`main`:

``install()``      make the schema
``bulk()``         an async context manager that gives ``send(numbers)``: enqueue all these jobs
``single()``       the same for ``send(number)``: one job, its own commit, its own connection
``work(stop)``     a worker process with its handler, until *stop* is set

The handler calls ``count`` with the job's number. The Node twin is ``frame.js``.
"""

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from bench.counters import count
from bench.payload import payload

__all__ = ["DSN", "count", "main", "payload"]

DSN = os.environ.get("BENCH_DSN", "")
PAUSES = 0.02, 0.05

Install = Callable[[], Awaitable[None]]
Bulk = Callable[[], AbstractAsyncContextManager[Callable[[range], Awaitable[object]]]]
Single = Callable[[], AbstractAsyncContextManager[Callable[[int], Awaitable[object]]]]
Work = Callable[[asyncio.Event], Awaitable[None]]


def main(*, install: Install, bulk: Bulk, single: Single, work: Work) -> None:
    """Do what the command line says; print the answer, if there is one, as the last line."""
    command, *numbers = sys.argv[1:]
    if command == "install":
        _run(install())
    elif command == "bulk":
        print(json.dumps(_run(_bulk(bulk, int(numbers[0])))))
    elif command == "single":
        print(json.dumps(_run(_single(single, int(numbers[0]), int(numbers[1])))))
    elif command == "probe":
        print(json.dumps(_run(_probe(single, int(numbers[0])))))
    elif command == "work":
        _run(_work(work))


async def _bulk(bulk: Bulk, jobs: int) -> dict[str, float]:
    """Seconds, and CPU seconds of this process, for so many jobs."""
    async with bulk() as send:
        begun, used = time.perf_counter(), time.process_time()
        await send(range(jobs))
        return {"seconds": time.perf_counter() - begun, "cpu": time.process_time() - used}


async def _single(single: Single, each: int, connections: int) -> dict[str, float]:
    """Seconds for *each* jobs on each of so many connections, one warm-up job each not timed."""
    async with contextlib.AsyncExitStack() as stack:
        senders = [await stack.enter_async_context(single()) for _ in range(connections)]
        for send in senders:
            await send(0)

        async def send_all(send: Callable[[int], Awaitable[object]]) -> None:
            for number in range(each):
                await send(number)

        begun = time.perf_counter()
        await asyncio.gather(*map(send_all, senders))
        return {"seconds": time.perf_counter() - begun}


async def _probe(single: Single, probes: int) -> list[int]:
    """When each of so many jobs, numbered from 1, was committed, in monotonic nanoseconds."""
    moments = []
    async with single() as send:
        for number in range(probes):
            await asyncio.sleep(random.uniform(*PAUSES))
            await send(number + 1)
            moments.append(time.monotonic_ns())
    return moments


async def _work(work: Work) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await work(stop)


def _run(what: Awaitable[object]) -> object:
    async def awaited() -> object:
        return await what

    try:
        import uvloop  # a peer that recommends it has it installed
    except ImportError:
        return asyncio.run(awaited())
    return uvloop.run(awaited())
