"""Bulk enqueue: many jobs in one transaction, ids returned."""

from collections.abc import Iterator

from bench import bare, enqueueing, fused, store
from bench.failure import require
from bench.figure import OURS, Figure
from bench.setting import Setting

LINE = "bulk enqueue"


def measure(setting: Setting) -> Iterator[Figure]:
    dsn, jobs = setting.dsn, setting.sizes.jobs
    for _ in setting.rounds(LINE):
        bare.create(dsn)
        store.settle(dsn, "bare.jobs")
        yield Figure(LINE, "bare, lean table", jobs / bare.insert_bulk(dsn, jobs), "jobs/s")
        fused.create(dsn)
        store.settle(dsn, "bare.live")
        yield Figure(LINE, "bare, the same rows", jobs / fused.insert_bulk(dsn, jobs), "jobs/s")
        yield Figure(LINE, OURS, jobs / enqueueing.fill(dsn, jobs), "jobs/s")
        _require_waiting(dsn, jobs)
    store.clear(dsn)


def _require_waiting(dsn: str, jobs: int) -> None:
    waiting = store.count(dsn, "pgqueue.jobs WHERE state = 'available'")
    require(waiting == jobs, f"{waiting} jobs wait after an enqueue of {jobs}")
