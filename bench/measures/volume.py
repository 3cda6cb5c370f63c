"""Volume: many jobs wait, and history is long.

The claim (with its round trip), the queries behind `pgqueue status` and `pgqueue jobs`, and a look
into each view of the schema; then what a drain costs. Each against small tables. Backlog and
history are made by plain SQL.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
from psycopg import sql

from bench import claimers, seeds, store, workers
from bench.failure import require
from bench.figure import OURS, Figure, percentile
from bench.payload import PAYLOAD
from bench.setting import Setting
from bench.usage import usage
from bench.waiting import until
from pgqueue.storage import inspection, listing
from pgqueue.storage.drivers import run

SMALL = "small tables"
CLAIM = "claim of 50 jobs, p99"
QUERY = "query: "
DRAIN = "drain of a part of the backlog"
SERVER = f"CPU of the server, {DRAIN}"
WORKER = f"CPU of the worker, {DRAIN}"
CLAIMS = 200
BATCH = 50
LOOKS = 10
DRAINS = 5
"""Of a second each, for two of them differ by a quarter."""
STATES = ("available", "running", "dead", "succeeded")


def measure(setting: Setting) -> Iterator[Figure]:
    sizes = setting.sizes
    needed = (DRAINS + 1) * sizes.jobs + CLAIMS * BATCH
    for who, waiting, finished in (
        (SMALL, needed, sizes.held_round),
        (OURS, max(sizes.waiting, needed), sizes.finished),
    ):
        tables = f"{waiting:,} waiting and {finished:,} finished"
        setting.say(f"filling the tables: {tables}")
        store.clear(setting.dsn)
        seeds.seed_finished(setting.dsn, finished, PAYLOAD)
        seeds.seed_available(setting.dsn, waiting, PAYLOAD)
        setting.say(f"queries: {tables}")
        for name, slowest in _queries(setting.dsn):
            yield Figure(QUERY + name, who, slowest, "ms")
        setting.say(f"claims: {tables}")
        claims = claimers.time_claims(setting.dsn, CLAIMS, BATCH)
        yield Figure(CLAIM, who, percentile(claims, 99), "ms")
        for _ in range(DRAINS):
            setting.say(f"drains: {tables}")
            yield from _drain(setting, who)
    store.clear(setting.dsn)


def _queries(dsn: str) -> Iterator[tuple[str, float]]:
    """Each query that a person waits for, and the slowest of some tries in milliseconds."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        middle = _middle_of_history(connection)
        for name, look in _looks(connection, middle).items():
            look()  # the first one plans, and fetches from disk
            yield name, max(_milliseconds(look) for _ in range(LOOKS))


def _looks(connection: psycopg.Connection, middle: int) -> dict[str, Callable[[], object]]:
    """*middle* is the id of a job in the midst of history."""

    def read(statement: sql.SQL | sql.Composed, *params: object) -> Callable[[], list[Any]]:
        return lambda: connection.execute(statement, params).fetchall()

    def jobs(**options: Any) -> Callable[[], object]:
        return lambda: run(connection, listing.list_jobs(**options))

    views = read(sql.SQL("SELECT viewname FROM pg_views WHERE schemaname = 'pgqueue' ORDER BY 1"))
    names = [view for (view,) in views()]
    return {
        "status, queues": lambda: run(connection, inspection.queue_status()),
        "status, workers": lambda: run(connection, inspection.list_workers()),
        "jobs show": lambda: run(connection, inspection.show_job(middle)),
        "jobs list": jobs(),
        "jobs list --before": jobs(before=str(middle)),
        **{f"jobs list --state {state}": jobs(state=state) for state in STATES},
        **{
            f"view {name}, 100 rows": read(
                sql.SQL("SELECT * FROM pgqueue.{} LIMIT 100").format(sql.Identifier(name))
            )
            for name in names
        },
        "view all_jobs, by id": read(
            sql.SQL("SELECT * FROM pgqueue.all_jobs WHERE id = %s"), middle
        ),
    }


def _middle_of_history(connection: psycopg.Connection) -> int:
    row = connection.execute("SELECT min(id) + (max(id) - min(id)) / 2 FROM pgqueue.finished_jobs")
    ((middle,),) = row.fetchall()
    return int(middle)


def _milliseconds(look: Callable[[], object]) -> float:
    begun = time.perf_counter()
    look()
    return (time.perf_counter() - begun) * 1000


def _drain(setting: Setting, who: str) -> Iterator[Figure]:
    """A worker runs jobs between two looks, and is stopped while others still wait."""
    dsn, jobs = setting.dsn, setting.sizes.jobs
    before = store.count(dsn, "pgqueue.jobs")
    workers.pause(dsn)
    with workers.workers(dsn, 1) as team, psycopg.connect(dsn, autocommit=True) as connection:
        used, first, begun = usage(connection, team.pids), team.calls, time.perf_counter()
        connection.execute("SELECT pgqueue.resume('default')")
        until(lambda: team.calls >= jobs, f"{jobs} jobs to start")
        seconds = time.perf_counter() - begun
        done = team.calls - first
        used = usage(connection, team.pids).since(used)
        workers.pause(dsn)
    yield Figure(DRAIN, who, done / seconds, "jobs/s")
    for line, cpu in ((SERVER, used.server), (WORKER, used.clients)):
        if cpu is not None:
            yield Figure(line, who, cpu * 1000 / done, "ms/job")
    left = store.count(dsn, "pgqueue.jobs WHERE state = 'available'")
    require(left == before - team.calls, f"{left} of {before} jobs left after {team.calls} calls")
