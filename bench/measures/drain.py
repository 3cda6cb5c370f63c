"""Drain: worker processes run a backlog of jobs that do nothing.

From the end of a pause until every outcome is written and the live table is empty. The bare loops
run in as many processes, each a connection.
"""

from collections.abc import Iterator

from bench import bare, enqueueing, fused, store, workers
from bench.clients import Clients, client_processes
from bench.figure import OURS, Figure
from bench.setting import Setting

PROCESSES = (1, 2, 4)
BATCH = 500
SMALL_BATCH = 100


def line(processes: int) -> str:
    return f"drain, {processes} worker{'s' if processes > 1 else ''}"


def measure(setting: Setting) -> Iterator[Figure]:
    dsn, jobs = setting.dsn, setting.sizes.jobs
    for processes in PROCESSES:
        name = line(processes)
        with client_processes(processes) as clients:
            for _ in setting.rounds(name):
                yield Figure(name, bare.WHO, jobs / drain_lean(dsn, clients, jobs), "jobs/s")
                for batch in (BATCH, SMALL_BATCH):
                    seconds = drain_fused(dsn, clients, jobs, batch)
                    yield Figure(name, fused.who(batch), jobs / seconds, "jobs/s")
                yield Figure(name, OURS, jobs / drain_ours(dsn, jobs, processes), "jobs/s")
    store.clear(dsn)


def drain_lean(dsn: str, clients: Clients, jobs: int, batch: int = BATCH) -> float:
    bare.create(dsn)
    bare.insert_bulk(dsn, jobs)
    store.settle(dsn, "bare.jobs")
    seconds = clients.together(bare.drain, dsn, batch)
    bare.require_drained(dsn, jobs)
    return seconds


def drain_fused(dsn: str, clients: Clients, jobs: int, batch: int) -> float:
    fused.create(dsn)
    fused.insert_bulk(dsn, jobs)
    store.settle(dsn, "bare.live")
    seconds = clients.together(fused.drain, dsn, batch)
    fused.require_drained(dsn, jobs)
    return seconds


def drain_ours(dsn: str, jobs: int, processes: int) -> float:
    enqueueing.fill(dsn, jobs)
    workers.pause(dsn)
    with workers.workers(dsn, processes) as team:
        seconds = workers.drain(dsn, team, jobs)
    store.require_finished(dsn, jobs)
    return seconds
