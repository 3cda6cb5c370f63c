"""Handlers that work: waiting for something, or occupying a CPU, against what is possible.

Possible for a wait of 10 ms: slots / 10 ms. Possible for CPU work: the same loop in as many bare
processes as there are slots, with no queue. In threads Python allows one CPU at a time, so only one
slot is measured there.
"""

from collections.abc import Iterator, Sequence

import psycopg

import pgqueue
from bench import store, workers
from bench.clients import client_processes
from bench.figure import OURS, Figure
from bench.setting import Setting
from bench.tasks import burn, burn_child, burn_thread, wait

POSSIBLE = "possible"
SECONDS = 0.01
WAIT_SLOTS = (10, 100, 1000)
BURN_SECONDS = 0.005
CALIBRATION = 200_000


def wait_line(slots: int) -> str:
    return f"I/O-bound, {SECONDS * 1000:.0f} ms, {slots} slots"


def measure(setting: Setting) -> Iterator[Figure]:
    for slots in WAIT_SLOTS:
        jobs = min(max(slots * 100, 500), setting.sizes.jobs)
        for _ in setting.rounds(wait_line(slots), slow=True):
            yield Figure(wait_line(slots), POSSIBLE, slots / SECONDS, "jobs/s")
            new = [wait.job(number=number, seconds=SECONDS) for number in range(jobs)]
            seconds = _drain(setting.dsn, new, slots)
            yield Figure(wait_line(slots), OURS, jobs / seconds, "jobs/s")
    loops = int(CALIBRATION * BURN_SECONDS / min(burn(CALIBRATION) for _ in range(5)))
    jobs = max(setting.sizes.jobs // 50, 100)
    for kind, task, slots in (
        ("thread", burn_thread, 1),
        ("child", burn_child, 1),
        ("child", burn_child, 2),
    ):
        name = f"CPU-bound, {BURN_SECONDS * 1000:.0f} ms, {slots} {kind} slot{'s'[: slots - 1]}"
        with client_processes(slots) as clients:
            for _ in setting.rounds(name, slow=True):
                seconds = clients.together(_burn, loops, jobs // slots)
                yield Figure(name, POSSIBLE, jobs // slots * slots / seconds, "jobs/s")
                new = [task.job(number=number, loops=loops) for number in range(jobs)]
                yield Figure(name, OURS, jobs / _drain(setting.dsn, new, slots), "jobs/s")
    store.clear(setting.dsn)


def _drain(dsn: str, new: Sequence[pgqueue.NewJob], slots: int) -> float:
    store.clear(dsn)
    with psycopg.connect(dsn) as connection:
        pgqueue.enqueue_many(connection, new)
    store.settle(dsn)
    workers.pause(dsn)
    with workers.workers(dsn, 1, queues={"default": slots}) as team:
        seconds = workers.drain(dsn, team, len(new))
    store.require_finished(dsn, len(new))
    return seconds


def _burn(loops: int, times: int) -> Iterator[None]:
    yield
    for _ in range(times):
        burn(loops)
