"""Many queues: one worker serves a thousand of them, against one queue with as many slots."""

import time
from collections.abc import Iterator

import psycopg

import pgqueue
from bench import store, workers
from bench.enqueueing import CHUNK
from bench.failure import require
from bench.figure import OURS, Figure
from bench.payload import payload
from bench.setting import Setting
from bench.tasks import noop
from bench.waiting import until

ONE = "one queue"


def measure(setting: Setting) -> Iterator[Figure]:
    count = setting.sizes.queues
    line = f"backlog of {count:,} queues, from the worker's first job"
    for _ in setting.rounds(f"{count:,} queues", slow=True):
        for who, queues in (
            (ONE, {"default": count}),
            (OURS, {f"queue-{number}": 1 for number in range(count)}),
        ):
            yield Figure(line, who, _rate(setting, queues), "jobs/s")
    store.clear(setting.dsn)


def _rate(setting: Setting, queues: dict[str, int]) -> float:
    """The jobs are there before the worker is: it begins with all its queues full."""
    dsn, jobs = setting.dsn, setting.sizes.held_round
    store.clear(dsn)
    names = list(queues)
    with psycopg.connect(dsn) as connection:
        for start in range(0, jobs, CHUNK):
            new = [
                noop.job(**payload(n)).options(queue=names[n % len(names)])
                for n in range(start, min(start + CHUNK, jobs))
            ]
            pgqueue.enqueue_many(connection, new)
    store.settle(dsn)
    with workers.workers(dsn, 1, queues=queues) as team:
        until(lambda: team.calls >= jobs, f"{jobs} jobs to start", within=600)
        until(lambda: not store.count(dsn, "pgqueue.jobs"), "the last outcomes")
        seconds = (time.monotonic_ns() - team.read().first) / 1e9
        require(team.calls == jobs, f"{team.calls} handler calls for {jobs} jobs")
    store.require_finished(dsn, jobs)
    return jobs / seconds
