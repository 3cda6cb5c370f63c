"""Latency: from a committed enqueue until the handler starts.

The moment after ``enqueue`` returned, on one connection with its own commits, against the moment of
the handler's first line; both by one clock. A job can start before its enqueue has returned: that
counts as 0. Half load: a producer gives the worker half of what it took in and ran in a second of
the steady load just before. Ten sleepers: ten idle workers, so that one job wakes them all.
"""

import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

import pgqueue
from bench import store
from bench.clients import Clients, client_processes
from bench.failure import require
from bench.figure import OURS, Figure, percentile
from bench.measures.steady import A_COMMIT, PRODUCERS, rate_ours
from bench.payload import payload
from bench.setting import Setting
from bench.tasks import noop
from bench.waiting import until
from bench.workers import Team, workers

PERCENTILES = (50, 95, 99)
PAUSES = 0.02, 0.05
"""Seconds between two probes, at random: never in step with a poll."""
SLEEPERS = 10
TICK = 0.01
BACKGROUND = 10**9
"""Numbers of jobs that are not probes begin here."""


def line(state: str, percent: int) -> str:
    return f"latency, {state}, p{percent}"


def measure(setting: Setting) -> Iterator[Figure]:
    dsn = setting.dsn
    with client_processes(PRODUCERS) as clients:
        for state, processes in (("idle worker", 1), ("ten sleepers", SLEEPERS)):
            for _ in setting.rounds(f"latency, {state}", slow=processes > 1):
                store.clear(dsn)
                with workers(dsn, processes, starts=True) as team:
                    yield from _figures(state, probe(dsn, clients, team, setting.sizes.probes))
                store.require_finished(dsn, setting.sizes.probes)
        for _ in setting.rounds("latency, half load"):
            commits = max(setting.sizes.jobs // PRODUCERS // A_COMMIT, 1)
            rate = rate_ours(dsn, clients, commits) / 2
            store.clear(dsn)
            with workers(dsn, 1, starts=True) as team:
                yield from _figures("half load", _under_load(setting, clients, team, rate))
    store.clear(dsn)


def probe(dsn: str, clients: Clients, team: Team, probes: int) -> list[float]:
    """Return the latency of each of *probes* jobs, in milliseconds."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        beyond = store.last_id(connection)
    with tempfile.TemporaryDirectory() as directory:
        commits = Path(directory, "commits")
        clients.together(send_probes, dsn, probes, str(commits), clients=1)
        until(lambda: len(_probes(team)) == probes, "the probes to start")
        committed = [int(word) for word in commits.read_text().split()]
    started = _probes(team)
    with psycopg.connect(dsn, autocommit=True) as connection:
        until(lambda: not store.any_left(connection, beyond), "the last outcomes")
    return [max(started[n] - committed[n], 0) / 1e6 for n in range(probes)]


def send_probes(dsn: str, count: int, commits: str) -> Iterator[None]:
    """Enqueue *count* numbered jobs, with pauses; write when each was committed to a file."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield
        moments = []
        for number in range(count):
            time.sleep(random.uniform(*PAUSES))
            pgqueue.enqueue(connection, noop.job(**payload(number)))
            moments.append(time.monotonic_ns())
    Path(commits).write_text(" ".join(map(str, moments)))


def send_steadily(dsn: str, rate: float, seconds: float) -> Iterator[None]:
    """Enqueue *rate* jobs a second for so many *seconds*, some every 10 ms."""
    with psycopg.connect(dsn) as connection:
        yield
        begun = time.monotonic()
        sent = 0
        while (passed := time.monotonic() - begun) < seconds:
            due = int(passed * rate) - sent
            if due:
                numbers = range(BACKGROUND + sent, BACKGROUND + sent + due)
                pgqueue.enqueue_many(connection, [noop.job(**payload(n)) for n in numbers])
                connection.commit()
                sent += due
            time.sleep(TICK)


def _under_load(setting: Setting, clients: Clients, team: Team, rate: float) -> list[float]:
    """The probes, while a producer keeps the worker busy, from before the first to the last."""
    seconds = setting.sizes.probes * PAUSES[1] + 1.0
    with client_processes(1) as producer:
        producer.begin(send_steadily, setting.dsn, rate, seconds)
        time.sleep(0.5)
        found = probe(setting.dsn, clients, team, setting.sizes.probes)
        producer.end()
    until(lambda: not store.count(setting.dsn, "pgqueue.jobs"), "the last outcomes")
    jobs = store.count(setting.dsn, "pgqueue.finished_jobs")
    require(team.calls == jobs, f"{team.calls} handler calls for {jobs} jobs")
    return found


def _probes(team: Team) -> dict[int, int]:
    return {number: start for number, start in team.starts().items() if number < BACKGROUND}


def _figures(state: str, found: list[float]) -> Iterator[Figure]:
    for percent in PERCENTILES:
        yield Figure(line(state, percent), OURS, percentile(found, percent), "ms")
