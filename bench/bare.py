"""The lean loop: what the same work costs in bare SQL, on tables with nothing but the work in them.

A ceiling, not a queue: no handler, no lease, no fence (a worker that was given up for dead would
overwrite its successor), no retries, and five columns of history.
"""

import time
from collections.abc import Iterator

import psycopg

from bench.failure import require
from bench.payload import PAYLOAD, WARM_UP

WHO = "bare, lean loop"
WHO_LEAN_INSERT = "bare INSERT, lean table"
WHO_ROW_INSERT = "bare INSERT, the same row"
CHUNK = 5_000

TABLES = """
CREATE SCHEMA IF NOT EXISTS bare;
DROP TABLE IF EXISTS bare.jobs, bare.done;
CREATE TABLE bare.jobs (
    id bigserial PRIMARY KEY,
    run_at timestamptz NOT NULL DEFAULT now(),
    priority smallint NOT NULL DEFAULT 100,
    state text NOT NULL DEFAULT 'available',
    payload json NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX ON bare.jobs (priority, run_at, id) WHERE state = 'available';
CREATE TABLE bare.done (
    id bigint, run_at timestamptz, finished_at timestamptz, priority smallint, payload json
);
CREATE INDEX ON bare.done (id);
"""

CLAIM = """
WITH head AS MATERIALIZED (
    SELECT id FROM bare.jobs WHERE state = 'available'
    ORDER BY priority, run_at, id LIMIT %s FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE bare.jobs AS job SET state = 'running' FROM head WHERE job.id = head.id
RETURNING job.id, job.payload::text
"""

FINISH = """
WITH gone AS (DELETE FROM bare.jobs WHERE id = ANY(%s::bigint[]) RETURNING *)
INSERT INTO bare.done SELECT id, run_at, now(), priority, payload FROM gone
"""

INSERT = "INSERT INTO bare.jobs (payload) VALUES (%s::json) RETURNING id"
# What an enqueue writes, by itself: the row of pgqueue.jobs with every column that an enqueue sets.
INSERT_ROW = """
INSERT INTO pgqueue.jobs (
    id, state, queue, task, priority, run_at, created_at, expires_at, max_attempts, max_crashes,
    timeout, keep, keep_cancelled, keep_dead, key, actor, on_dead_task, batch_id, args, metadata
) VALUES (
    nextval('pgqueue.jobs_id_seq'), 'available', %s, %s, %s, clock_timestamp(), clock_timestamp(),
    %s, %s, %s, %s::interval, %s::interval, %s::interval, %s::interval, %s, %s, %s, %s, %s::json,
    %s::json
)
RETURNING id
"""
ROW = ("default", "noop", 100, None, 5, 3, "1 minute", "7 days", *[None] * 6, PAYLOAD, None)
INSERT_MANY = "INSERT INTO bare.jobs (payload) SELECT unnest(%s::text[])::json RETURNING id"


def create(dsn: str) -> None:
    """Make the tables, empty."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(TABLES)


def insert_bulk(dsn: str, jobs: int) -> float:
    """Insert *jobs* rows in one transaction, 5,000 a statement; return the seconds it took."""
    with psycopg.connect(dsn) as connection:
        begun = time.perf_counter()
        for start in range(0, jobs, CHUNK):
            count = min(CHUNK, jobs - start)
            connection.execute(INSERT_MANY, ([PAYLOAD] * count,)).fetchall()
        connection.commit()
        return time.perf_counter() - begun


def drain(dsn: str, batch: int) -> Iterator[None]:
    """Finish the last batch and claim the next in one transaction until nothing is left."""
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=0) as connection:
        connection.execute("SET enable_seqscan = off")
        yield
        held: list[int] = []
        while True:
            with connection.pipeline():
                connection.execute(FINISH, (held,))
                claim = connection.execute(CLAIM, (batch,))
            held = [row[0] for row in claim.fetchall()]
            if not held:
                return


def insert_singly(dsn: str, count: int) -> Iterator[None]:
    """Insert some rows, then, timed, *count* more; each with its own commit."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        for _ in range(WARM_UP):
            connection.execute(INSERT, (PAYLOAD,))
        yield
        for _ in range(count):
            connection.execute(INSERT, (PAYLOAD,)).fetchone()


def insert_rows_singly(dsn: str, count: int) -> Iterator[None]:
    """The same with the rows of pgqueue.jobs."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        for _ in range(WARM_UP):
            connection.execute(INSERT_ROW, ROW)
        yield
        for _ in range(count):
            connection.execute(INSERT_ROW, ROW).fetchone()


def require_drained(dsn: str, jobs: int) -> None:
    """No row is left, and the archive holds exactly *jobs*."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "SELECT (SELECT count(*) FROM bare.jobs), (SELECT count(*) FROM bare.done)"
        ).fetchone()
    require(row == (0, jobs), f"bare SQL: {row} rows left and archived instead of (0, {jobs})")
