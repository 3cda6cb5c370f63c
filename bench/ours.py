"""The same work with pgqueue: its enqueue, its worker processes, every job with its own outcome."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

import pgqueue
from bench.tasks import SLOT, noop

PAD = "x" * 48


class Workers:
    """Worker processes of the bench, and what they have counted."""

    def __init__(self, counters: Path) -> None:
        self._counters = counters

    def started(self) -> int:
        """How many jobs were started, by all of them."""
        return sum(self._slots(0))

    def last_start(self) -> int:
        """When the last job was started, in monotonic nanoseconds."""
        return max(self._slots(1), default=0)

    def _slots(self, field: int) -> list[int]:
        slots = [path.read_bytes() for path in self._counters.iterdir()]
        return [SLOT.unpack(slot)[field] for slot in slots if len(slot) == SLOT.size]


@contextmanager
def workers(dsn: str, processes: int, slots: int = 100) -> Iterator[Workers]:
    """Run *processes* workers, each a process with *slots* slots of the queue ``default``."""
    with tempfile.TemporaryDirectory() as counters:
        command = [sys.executable, "-m", "pgqueue.cli", "worker", "bench.tasks:tasks"]
        command += ["-q", f"default={slots}", "--log-level", "warning"]
        environment = {**os.environ, "PGQUEUE_DSN": dsn, "PGQUEUE_BENCH_COUNTERS": counters}
        running = [subprocess.Popen(command, env=environment) for _ in range(processes)]
        try:
            _until(lambda: _count(dsn, "pgqueue.workers") == processes)
            yield Workers(Path(counters))
        finally:
            for process in running:
                process.terminate()
            for process in running:
                process.wait(timeout=60)


def fill(dsn: str, jobs: int) -> float:
    """Enqueue *jobs* in batches of 5,000 in one transaction; return the seconds it took."""
    with psycopg.connect(dsn) as connection:
        begun = time.perf_counter()
        for start in range(0, jobs, 5000):
            batch = range(start, min(start + 5000, jobs))
            new = [noop.job(user_id=number, template="welcome", pad=PAD) for number in batch]
            pgqueue.enqueue_many(connection, new)
        connection.commit()
        return time.perf_counter() - begun


def drain(dsn: str, jobs: int, processes: int) -> float:
    """Let *processes* workers run *jobs* that wait; return the seconds until all are written."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SELECT pgqueue.pause('default')")
        with workers(dsn, processes) as team:
            begun = time.perf_counter()
            connection.execute("SELECT pgqueue.resume('default')")
            _until(lambda: team.started() >= jobs)
            _until(lambda: not _count(dsn, "pgqueue.jobs"))
            seconds = time.perf_counter() - begun
            if team.started() != jobs:
                raise SystemExit(f"{team.started()} starts for {jobs} jobs")
        return seconds


def enqueue_singly(dsn: str, count: int) -> float:
    """Enqueue *count* jobs, each with its own commit; return the seconds it took."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        job = noop.job(user_id=1, template="welcome", pad=PAD)
        pgqueue.enqueue(connection, job)
        begun = time.perf_counter()
        for _ in range(count):
            pgqueue.enqueue(connection, noop.job(user_id=1, template="welcome", pad=PAD))
        return time.perf_counter() - begun


def latencies(dsn: str, count: int, pause: float) -> list[float]:
    """Return, for each of *count* jobs to an idle worker, the milliseconds from its committed
    enqueue to its start."""
    found = []
    with psycopg.connect(dsn, autocommit=True) as connection, workers(dsn, 1) as team:
        for number in range(count):
            time.sleep(pause)
            pgqueue.enqueue(connection, noop.job(user_id=number, template="welcome", pad=PAD))
            committed = time.monotonic_ns()
            _until(lambda number=number: team.started() > number, every=0.0005)
            found.append((team.last_start() - committed) / 1e6)
    return found


def _count(dsn: str, table: str) -> int:
    with psycopg.connect(dsn, autocommit=True) as connection:
        row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608  ours
        return int(row[0]) if row else 0


def _until(condition: Callable[[], bool], every: float = 0.005, within: float = 120) -> None:
    until = time.monotonic() + within
    while not condition():
        if time.monotonic() > until:
            raise SystemExit("the bench waited too long")
        time.sleep(every)
