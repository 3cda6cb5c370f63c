"""Held snapshot: drains while somebody keeps an old snapshot open, so that no dead row can go.

A worker drains one backlog after the other: some without a snapshot, then under one that was taken
before the first job was enqueued, then some without again, for the speed of a machine drifts in the
minutes that this takes. With at most 10, 50 and 500 jobs a claim. The lean loop is
there for comparison: it searches from the head of its index each time, and after five rounds it is
slow enough to be left alone. The last tenth of the rounds, one at least, is compared with those
without a snapshot: a single one may or may not have had a search from the head in it.
"""

import statistics
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import psycopg

from bench import bare, enqueueing, store, workers
from bench.clients import Clients, client_processes
from bench.figure import OURS, Figure
from bench.setting import Setting

BATCHES = (10, 50, 500)
SLOTS = 10
BARE_ROUNDS = 5

Drain = Callable[[], float]
"""Enqueue a round's jobs and drain them; return the seconds of the drain."""


def line(batch: int, phase: str) -> str:
    """*phase*: free or held. The figures are in the order of the rounds."""
    return f"drain by {batch}, snapshot {phase}"


def ratio_line(batch: int) -> str:
    return f"drain by {batch}, last tenth held against free"


def measure(setting: Setting) -> Iterator[Figure]:
    rounds = max(setting.sizes.held_jobs // setting.sizes.held_round, 1)
    with client_processes(1) as clients:
        for batch in BATCHES:
            drains = _bare(setting, clients, batch)
            yield from _series(setting, bare.WHO, batch, drains, min(rounds, BARE_ROUNDS))
            yield from _series(setting, OURS, batch, _ours(setting, batch), rounds)
    store.clear(setting.dsn)


def _series(
    setting: Setting,
    who: str,
    batch: int,
    drains: Callable[[], AbstractContextManager[Drain]],
    rounds: int,
) -> Iterator[Figure]:
    jobs = setting.sizes.held_round
    rates: dict[str, list[float]] = {"free": [], "held": []}
    for phase, count in (("free", 3), ("held", rounds), ("free", 3)):
        with drains() as drain, _snapshot(setting.dsn) if phase == "held" else nullcontext():
            for number in range(count):
                setting.say(f"{line(batch, phase)}, {who}, round {number + 1} of {count}")
                rates[phase].append(jobs / drain())
                yield Figure(line(batch, phase), who, rates[phase][-1], "jobs/s")
    last = rates["held"][-max(rounds // 10, 1) :]
    ratio = statistics.harmonic_mean(last) / statistics.median(rates["free"])
    yield Figure(ratio_line(batch), who, ratio, "")


@contextmanager
def _snapshot(dsn: str) -> Iterator[None]:
    """Hold a snapshot open, as a forgotten transaction or a long report does."""
    with psycopg.connect(dsn) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute("SELECT pg_current_xact_id()")
        yield


def _ours(setting: Setting, batch: int) -> Callable[[], AbstractContextManager[Drain]]:
    dsn, jobs = setting.dsn, setting.sizes.held_round

    @contextmanager
    def drains() -> Iterator[Drain]:
        done = 0
        store.clear(dsn)
        queues = {"default": SLOTS}
        with workers.workers(dsn, 1, queues=queues, prefetch=batch - SLOTS) as team:

            def drain() -> float:
                nonlocal done
                workers.pause(dsn)
                enqueueing.enqueue_bulk(dsn, jobs)
                store.settle(dsn)
                done += jobs
                return workers.drain(dsn, team, jobs)

            yield drain
        store.require_finished(dsn, done)

    return drains


def _bare(
    setting: Setting, clients: Clients, batch: int
) -> Callable[[], AbstractContextManager[Drain]]:
    dsn, jobs = setting.dsn, setting.sizes.held_round

    @contextmanager
    def drains() -> Iterator[Drain]:
        done = 0
        bare.create(dsn)

        def drain() -> float:
            nonlocal done
            bare.insert_bulk(dsn, jobs)
            store.settle(dsn, "bare.jobs")
            done += jobs
            return clients.together(bare.drain, dsn, batch)

        yield drain
        bare.require_drained(dsn, done)

    return drains
