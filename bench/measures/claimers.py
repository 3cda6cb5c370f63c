"""Many claimers on one queue: 1, 4, 16, 64 connections claim and finish by 50.

pgqueue's statements without its worker (64 Python processes would measure the machine), spread over
two client processes.
"""

from collections.abc import Iterator

from bench import claimers, enqueueing, store
from bench.clients import client_processes
from bench.figure import OURS, Figure
from bench.setting import Setting

COUNTS = (1, 4, 16, 64)
BATCH = 50
PROCESSES = 2


def line(count: int) -> str:
    return f"{count} claimer{'s' if count > 1 else ''} on one queue"


def measure(setting: Setting) -> Iterator[Figure]:
    dsn, jobs = setting.dsn, setting.sizes.jobs
    with client_processes(PROCESSES) as clients:
        for _ in setting.rounds("claimers", slow=True):
            for count in COUNTS:
                used = min(count, PROCESSES)
                enqueueing.fill(dsn, jobs)
                each = count // used
                seconds = clients.together(claimers.drain, dsn, each, BATCH, clients=used)
                store.require_finished(dsn, jobs)
                yield Figure(line(count), OURS, jobs / seconds, "jobs/s")
    store.clear(dsn)
