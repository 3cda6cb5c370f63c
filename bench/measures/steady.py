"""Mixed steady load: two producers commit ten jobs at a time while one worker runs them.

From the first commit until the last outcome is written: how many jobs go all the way in a second.
"""

import time
from collections.abc import Iterator

import psycopg

import pgqueue
from bench import bare, store
from bench.clients import Clients, client_processes
from bench.failure import require
from bench.figure import OURS, Figure
from bench.payload import PAYLOAD, payload
from bench.setting import Setting
from bench.tasks import noop
from bench.waiting import until
from bench.workers import workers

LINE = "steady load, 2 producers and 1 worker"
PRODUCERS = 2
A_COMMIT = 10


def measure(setting: Setting) -> Iterator[Figure]:
    dsn = setting.dsn
    commits = max(setting.sizes.jobs // PRODUCERS // A_COMMIT, 1)
    jobs = commits * PRODUCERS * A_COMMIT
    with client_processes(PRODUCERS) as producers, client_processes(1) as consumer:
        for _ in setting.rounds(LINE):
            bare.create(dsn)
            begun = time.perf_counter()
            consumer.begin(consume_bare, dsn, jobs)
            producers.together(produce_bare, dsn, commits)
            consumer.end()
            yield Figure(LINE, bare.WHO, jobs / (time.perf_counter() - begun), "jobs/s")
            bare.require_drained(dsn, jobs)

            yield Figure(LINE, OURS, rate_ours(dsn, producers, commits), "jobs/s")
    store.clear(dsn)


def rate_ours(dsn: str, producers: Clients, commits: int) -> float:
    """How many jobs a second pgqueue takes in and runs at once; *commits* of ten a producer."""
    jobs = commits * PRODUCERS * A_COMMIT
    store.clear(dsn)
    with workers(dsn, 1) as team:
        begun = time.perf_counter()
        producers.together(produce, dsn, commits)
        until(lambda: team.calls >= jobs, "the worker to catch up", within=600)
        until(lambda: not store.count(dsn, "pgqueue.jobs"), "the last outcomes")
        seconds = time.perf_counter() - begun
        require(team.calls == jobs, f"{team.calls} handler calls for {jobs} jobs")
    store.require_finished(dsn, jobs)
    return jobs / seconds


def produce(dsn: str, commits: int) -> Iterator[None]:
    with psycopg.connect(dsn) as connection:
        yield
        for _ in range(commits):
            jobs = [noop.job(**payload(number)) for number in range(A_COMMIT)]
            pgqueue.enqueue_many(connection, jobs)
            connection.commit()


def produce_bare(dsn: str, commits: int) -> Iterator[None]:
    with psycopg.connect(dsn) as connection:
        yield
        for _ in range(commits):
            connection.execute(bare.INSERT_MANY, ([PAYLOAD] * A_COMMIT,)).fetchall()
            connection.commit()


def consume_bare(dsn: str, jobs: int) -> Iterator[None]:
    """The lean loop, going on while nothing is there, until *jobs* are done."""
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=0) as connection:
        connection.execute("SET enable_seqscan = off")
        yield
        held: list[int] = []
        done = 0
        while done < jobs or held:
            with connection.pipeline():
                connection.execute(bare.FINISH, (held,))
                claim = connection.execute(bare.CLAIM, (500,))
            held = [row[0] for row in claim.fetchall()]
            done += len(held)
