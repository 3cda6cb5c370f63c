"""Cost of a job: write-ahead log, row versions written, CPU of server and worker.

A bulk enqueue and a drain by one worker, after a checkpoint and without one between: a job that
waits across a checkpoint costs its share of an image of its page besides (beside the peers all do).
The worker's CPU is that of its process from the moment it may claim; the clients' of a bare loop is
that of its one process.
"""

import os
from collections.abc import Callable, Iterator

import psycopg

from bench import bare, enqueueing, fused, store, workers
from bench.clients import Clients, client_processes
from bench.figure import OURS, Figure
from bench.measures.drain import BATCH
from bench.setting import Setting
from bench.usage import Usage, row_versions, usage
from bench.waiting import until

WAL = "write-ahead log"
CPU = "CPU of server and clients, {}"
VERSIONS = "row versions written, enqueue and drain"


def measure(setting: Setting) -> Iterator[Figure]:
    with client_processes(1) as clients:
        for _ in setting.rounds("cost"):
            yield from _bare(setting, clients)
            yield from _ours(setting)
    store.clear(setting.dsn)


def _ours(setting: Setting) -> Iterator[Figure]:
    dsn, jobs = setting.dsn, setting.sizes.jobs
    store.clear(dsn)
    store.settle(dsn)
    with psycopg.connect(dsn, autocommit=True) as connection:
        versions = row_versions(connection, "pgqueue")
        used = _used(connection, [os.getpid()], lambda: enqueueing.enqueue_bulk(dsn, jobs))
        yield from _figures(OURS, "enqueue", used, jobs)
        store.analyze(dsn, "pgqueue.jobs")
        workers.pause(dsn)
        with workers.workers(dsn, 1) as team:
            used = _used(connection, team.pids, lambda: workers.drain(dsn, team, jobs))
        yield from _figures(OURS, "drain", used, jobs)
        yield from _versions(connection, "pgqueue", versions, OURS, jobs)
    store.require_finished(dsn, jobs)


def _bare(setting: Setting, clients: Clients) -> Iterator[Figure]:
    dsn, jobs = setting.dsn, setting.sizes.jobs
    who = fused.who(BATCH)
    fused.create(dsn)
    store.settle(dsn, "bare.live")
    with psycopg.connect(dsn, autocommit=True) as connection:
        versions = row_versions(connection, "bare")
        used = _used(connection, [os.getpid()], lambda: fused.insert_bulk(dsn, jobs))
        yield from _figures(who, "enqueue", used, jobs)
        store.analyze(dsn, "bare.live")
        drain: Callable[[], float] = lambda: clients.together(fused.drain, dsn, BATCH)  # noqa: E731
        yield from _figures(who, "drain", _used(connection, clients.pids, drain), jobs)
        yield from _versions(connection, "bare", versions, who, jobs)
    fused.require_drained(dsn, jobs)
    bare.create(dsn)


def _used(connection: psycopg.Connection, pids: list[int], work: Callable[[], object]) -> Usage:
    before = usage(connection, pids)
    work()
    return usage(connection, pids).since(before)


def _figures(who: str, what: str, used: Usage, jobs: int) -> Iterator[Figure]:
    yield Figure(f"{WAL}, {what}", who, (used.wal or 0) / jobs, "B/job")
    for whose, seconds in (("server", used.server), ("client", used.clients)):
        if seconds is not None:
            yield Figure(f"CPU of the {whose}, {what}", who, seconds * 1000 / jobs, "ms/job")


def _versions(
    connection: psycopg.Connection, schema: str, before: int, who: str, jobs: int
) -> Iterator[Figure]:
    until(lambda: row_versions(connection, schema) - before >= 2 * jobs, "the server's statistics")
    found = row_versions(connection, schema) - before
    yield Figure(VERSIONS, who, found / jobs, "rows/job")
