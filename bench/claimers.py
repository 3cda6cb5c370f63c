"""pgqueue's own statements without its worker around them: claim and finish, on many connections.

For what would take more worker processes than a small machine can hold (sixty-four of them at one
queue), and for a claim that is timed by itself.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from psycopg import AsyncConnection

from bench.failure import require
from pgqueue.job import Job
from pgqueue.outcome import Succeeded
from pgqueue.storage import claiming, finishing
from pgqueue.storage.connect import connect, connect_async
from pgqueue.storage.drivers import run, run_async

_LEASE = timedelta(seconds=60)
_NO_JOB = Job(0, 0, "", "", 0, datetime.min, datetime.min, 0, 0, 0, 0, None, None, "{}", None)


def drain(dsn: str, claimers: int, batch: int) -> Iterator[None]:
    """Claim and finish by *batch* on so many connections until each finds nothing more.

    Raises :class:`Void` if a finish is refused: then two had claimed one job."""
    with asyncio.Runner() as runner:
        connections = [runner.run(_ready(dsn)) for _ in range(claimers)]
        yield
        runner.run(_drain(connections, batch))
        for connection in connections:
            runner.run(connection.close())


async def _ready(dsn: str) -> AsyncConnection[Any]:
    """Connect, and have the server plan the statements: a worker does that once in its life."""
    connection = await connect_async(dsn, "bench")
    worker_id = str(uuid4())
    await run_async(connection, _claim(worker_id, 1, queue="nothing"))
    await run_async(connection, _finish(worker_id, [_NO_JOB]))
    return connection


async def _drain(connections: Sequence[AsyncConnection[Any]], batch: int) -> None:
    async with asyncio.TaskGroup() as claimers:
        for connection in connections:
            claimers.create_task(_claim_and_finish(connection, batch))


async def _claim_and_finish(connection: AsyncConnection[Any], batch: int) -> None:
    worker_id = str(uuid4())
    while True:
        claimed = await run_async(connection, _claim(worker_id, batch))
        if not claimed.jobs:
            return
        written = await run_async(connection, _finish(worker_id, claimed.jobs))
        require(len(written) == len(claimed.jobs), "a finish was refused")


def time_claims(dsn: str, claims: int, batch: int) -> list[float]:
    """Claim and finish *claims* times on one connection; return the milliseconds of each claim,
    the round trip and the reading of its rows included."""
    worker_id = str(uuid4())
    found = []
    with connect(dsn, "bench") as connection:
        run(connection, _finish(worker_id, run(connection, _claim(worker_id, batch)).jobs))
        for _ in range(claims):
            begun = time.perf_counter()
            claimed = run(connection, _claim(worker_id, batch))
            found.append((time.perf_counter() - begun) * 1000)
            require(len(claimed.jobs) == batch, f"a claim found {len(claimed.jobs)} of {batch}")
            run(connection, _finish(worker_id, claimed.jobs))
    return found


def _claim(worker_id: str, batch: int, queue: str = "default") -> Any:
    return claiming.claim(worker_id=worker_id, limits={queue: batch}, tasks=["noop"], lease=_LEASE)


def _finish(worker_id: str, jobs: Sequence[Job]) -> Any:
    now = time.monotonic()
    outcomes = [Succeeded(job, now, now, None) for job in jobs]
    return finishing.finish(outcomes, worker_id=worker_id, moment=now)
