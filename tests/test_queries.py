"""The queries in sql/ run as they stand, on a database with a bit of everything in it."""

import uuid
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

import pgqueue
from pgqueue import NewJob
from pgqueue.storage import claiming, upkeep
from pgqueue.storage.drivers import run

QUERIES = sorted((Path(__file__).parents[1] / "sql").glob("*.sql"))


@pytest.fixture
def busy(connection: psycopg.Connection) -> psycopg.Connection:
    me = str(uuid.uuid4())
    pgqueue.enqueue_many(connection, [NewJob("t") for _ in range(3)])
    pgqueue.enqueue_many(connection, [NewJob("unserved", delay=d) for d in (None, 60)])
    run(
        connection,
        claiming.claim(
            worker_id=me, limits={"default": 1}, tasks=["t"], lease=timedelta(seconds=30)
        ),
    )
    run(
        connection,
        upkeep.record_worker(
            worker_id=me, pid=1, host="h", version="0", queues={"default": 10}, tasks=["t"]
        ),
    )
    connection.execute(
        "INSERT INTO pgqueue.schedules (name, task, cron, next_run_at)"
        " VALUES ('nightly', 't', '0 2 * * *', now() - interval '1 hour')"
    )
    connection.execute(
        "UPDATE pgqueue.jobs SET state = 'dead', reason = 'non_retryable', died_at = now(),"
        " error_type = 'E', error = 'e' WHERE id = (SELECT max(id) FROM pgqueue.jobs"
        " WHERE state = 'available' AND task = 't')"
    )
    return connection


@pytest.mark.parametrize("path", QUERIES, ids=lambda path: path.stem)
def test_a_query_runs_as_it_stands_and_finds_something(
    busy: psycopg.Connection, path: Path
) -> None:
    assert path.read_text().startswith("-- "), "it says what it answers"
    found = busy.execute(path.read_text()).fetchall()
    assert len(found) == 1


def test_there_are_queries() -> None:
    assert {path.stem for path in QUERIES} >= {"queues", "running", "dead", "workers", "unserved"}
