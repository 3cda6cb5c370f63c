"""Unknown tasks: a crowd of available jobs that no worker knows, at the head of the queue.

They must wait, untouched, and nobody else may notice: a drain of known jobs behind them, and the
latency of an idle worker from two seconds after its start, with and without the crowd.
"""

import time
from collections.abc import Iterator

from bench import enqueueing, seeds, store, workers
from bench.clients import Clients, client_processes
from bench.failure import require
from bench.figure import OURS, Figure, percentile
from bench.measures.latency import PERCENTILES, probe
from bench.setting import Setting

ALONE = "without the crowd"
TASK = "nobody knows me"
DRAIN = "drain behind jobs of an unknown task"


def latency_line(percent: int) -> str:
    return f"latency behind jobs of an unknown task, p{percent}"


def measure(setting: Setting) -> Iterator[Figure]:
    with client_processes(1) as clients:
        for _ in setting.rounds("unknown tasks"):
            yield from _round(setting, clients, ALONE, 0)
            yield from _round(setting, clients, OURS, setting.sizes.unknown)
    store.clear(setting.dsn)


def _round(setting: Setting, clients: Clients, who: str, crowd: int) -> Iterator[Figure]:
    dsn, jobs, probes = setting.dsn, setting.sizes.jobs, setting.sizes.probes
    store.clear(dsn)
    seeds.seed_available(dsn, crowd, "{}", task=TASK)
    workers.pause(dsn)
    enqueueing.enqueue_bulk(dsn, jobs)
    store.settle(dsn)
    with workers.workers(dsn, 1, starts=True) as team:
        yield Figure(DRAIN, who, jobs / workers.drain(dsn, team, jobs), "jobs/s")
    with workers.workers(dsn, 1, starts=True) as team:
        time.sleep(2)
        found = probe(dsn, clients, team, probes)
    for percent in PERCENTILES:
        yield Figure(latency_line(percent), who, percentile(found, percent), "ms")
    waiting = store.count(dsn, "pgqueue.jobs")
    untouched = store.count(dsn, f"pgqueue.jobs WHERE task = '{TASK}' AND attempt = 0")
    finished = store.count(dsn, "pgqueue.finished_jobs")
    require(waiting == untouched == crowd, f"{untouched} of {crowd} jobs untouched, {waiting} left")
    require(finished == jobs + probes, f"{finished} jobs in history instead of {jobs + probes}")
