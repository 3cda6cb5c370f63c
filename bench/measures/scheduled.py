"""Scheduled jobs: what an idle worker costs while many jobs wait for tomorrow.

CPU of the worker and of the server in a second of idleness, with and without them.
"""

import time
from collections.abc import Iterator

import psycopg

from bench import seeds, store, workers
from bench.failure import require
from bench.figure import OURS, Figure
from bench.payload import PAYLOAD
from bench.setting import Setting
from bench.usage import usage

ALONE = "without scheduled jobs"
SERVER = "idle for a second, CPU of the server"
WORKER = "idle for a second, CPU of the worker"
SECONDS = 5.0


def measure(setting: Setting) -> Iterator[Figure]:
    for who, jobs in ((ALONE, 0), (OURS, setting.sizes.scheduled)):
        store.clear(setting.dsn)
        seeds.seed_scheduled(setting.dsn, jobs, PAYLOAD)
        with workers.workers(setting.dsn, 1) as team:
            time.sleep(2)  # what a worker does once, at its start, is not idleness
            for _ in setting.rounds(f"idle {who}", slow=True):
                yield from _idle(setting.dsn, team, who)
        require(team.calls == 0, f"{team.calls} jobs of tomorrow were run today")
        left = store.count(setting.dsn, "pgqueue.jobs WHERE state = 'scheduled' AND attempt = 0")
        require(left == jobs, f"{left} of {jobs} scheduled jobs are left")
    store.clear(setting.dsn)


def _idle(dsn: str, team: workers.Team, who: str) -> Iterator[Figure]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        before = usage(connection, team.pids)
        time.sleep(SECONDS)
        used = usage(connection, team.pids).since(before)
    for line, seconds in ((SERVER, used.server), (WORKER, used.clients)):
        if seconds is not None:
            yield Figure(line, who, seconds * 1000 / SECONDS, "ms")
