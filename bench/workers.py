"""pgqueue's worker processes, started by their command line, and what they have counted."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg

from bench import store
from bench.counters import DIRECTORY, STARTS, Counters
from bench.failure import require
from bench.tasks import release_file
from bench.waiting import until

SLOTS = 100


class Team(Counters):
    """Some worker processes on one database."""

    def __init__(self, directory: Path, processes: list[subprocess.Popen[bytes]]) -> None:
        super().__init__(directory)
        self._directory = directory
        self._processes = processes

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._processes]

    def release(self) -> None:
        """Let go of the slots that ``hold`` has taken."""
        release_file(str(self._directory)).touch()


@contextmanager
def workers(
    dsn: str,
    processes: int = 1,
    *,
    queues: Mapping[str, int] | None = None,
    prefetch: int | None = None,
    starts: bool = False,
) -> Iterator[Team]:
    """Run *processes* workers until the ``with`` ends; by default 100 slots of ``default`` each.

    *starts*: keep the start of every job. Raises :class:`Void` if one of them did not end well."""
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-m", "pgqueue.cli", "worker", "bench.tasks:tasks"]
        for queue, slots in (queues or {"default": SLOTS}).items():
            command += ["-q", f"{queue}={slots}"]
        command += [] if prefetch is None else ["--prefetch", str(prefetch)]
        command += ["--log-level", "warning"]
        environment = {**os.environ, "PGQUEUE_DSN": dsn, DIRECTORY: directory}
        environment |= {STARTS: "1"} if starts else {}
        running = [subprocess.Popen(command, env=environment) for _ in range(processes)]
        team = Team(Path(directory), running)
        try:
            until(lambda: _alive(dsn, team.pids) == processes, "the workers to start")
            yield team
        finally:
            for process in running:
                process.terminate()
            codes = [process.wait(timeout=60) for process in running]
            team.finish()
        require(not any(codes), f"the workers ended with {codes}")


def drain(dsn: str, team: Team, jobs: int) -> float:
    """Let *team* run the *jobs* that wait while ``default`` is paused; return the seconds from the
    end of the pause until every outcome is written."""
    before = team.calls
    with psycopg.connect(dsn, autocommit=True) as connection:
        beyond = store.last_id(connection) - jobs
        begun = time.perf_counter()
        connection.execute("SELECT pgqueue.resume('default')")
        until(lambda: team.calls >= before + jobs, f"{jobs} jobs to start", within=600)
        until(lambda: not store.any_left(connection, beyond), "the last outcomes")
        seconds = time.perf_counter() - begun
    require(team.calls == before + jobs, f"{team.calls - before} handler calls for {jobs} jobs")
    return seconds


def pause(dsn: str) -> None:
    """Nothing of ``default`` is claimed from now on."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SELECT pgqueue.pause('default')")


def _alive(dsn: str, pids: list[int]) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pgqueue.workers WHERE pid = ANY(%s)", [pids]
        ).fetchone()
    return int(row[0]) if row else 0
