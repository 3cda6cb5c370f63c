"""pgqueue's enqueue, in bulk and one by one."""

import time
from collections.abc import Iterator

import psycopg

import pgqueue
from bench import store
from bench.payload import WARM_UP, payload
from bench.tasks import noop

CHUNK = 5_000


def enqueue_bulk(dsn: str, jobs: int) -> float:
    """Enqueue *jobs* in one transaction, 5,000 a call; return the seconds it took."""
    with psycopg.connect(dsn) as connection:
        begun = time.perf_counter()
        for start in range(0, jobs, CHUNK):
            numbers = range(start, min(start + CHUNK, jobs))
            pgqueue.enqueue_many(connection, [noop.job(**payload(n)) for n in numbers])
        connection.commit()
        return time.perf_counter() - begun


def fill(dsn: str, jobs: int) -> float:
    """Empty the tables and enqueue *jobs*; return the seconds the enqueue took."""
    store.clear(dsn)
    seconds = enqueue_bulk(dsn, jobs)
    store.settle(dsn)
    return seconds


def enqueue_singly(dsn: str, count: int) -> Iterator[None]:
    """Enqueue some jobs, then, timed, *count* more; each with its own commit."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        for number in range(WARM_UP):
            pgqueue.enqueue(connection, noop.job(**payload(number)))
        yield
        for number in range(count):
            pgqueue.enqueue(connection, noop.job(**payload(number)))
