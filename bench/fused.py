"""The fused loop: bare SQL of what a durable queue must do, without a worker around it.

The rows are pgqueue's own: the tables are LIKE its tables, with the two indexes that this needs. A
claim takes a lease and counts the attempt; a finish is fenced by (id, attempt) and moves the row
with all its columns into history. Both go in one transaction and one round trip, over and over. No
handler, no JSON decoding, no retry, rescue, wake-up or second queue: what is left is what Postgres
allows. The plans are pinned as pgqueue's workers pin theirs.
"""

import time
from collections.abc import Iterator
from uuid import uuid4

import psycopg

from bench.failure import require
from bench.payload import PAYLOAD

CHUNK = 5_000

TABLES = """
CREATE SCHEMA IF NOT EXISTS bare;
DROP TABLE IF EXISTS bare.live, bare.history;
CREATE TABLE bare.live (
    LIKE pgqueue.jobs INCLUDING DEFAULTS INCLUDING IDENTITY INCLUDING CONSTRAINTS,
    PRIMARY KEY (id)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX ON bare.live (queue, priority, run_at, id) WHERE state = 'available';
CREATE TABLE bare.history (LIKE pgqueue.finished_jobs INCLUDING CONSTRAINTS);
CREATE INDEX ON bare.history (id);
"""

COLUMNS = "run_at, created_at, max_attempts, max_crashes, priority, state, queue, task, keep, args"
VALUES = "now(), now(), 5, 3, 100, 'available', 'default', 'noop', '7 days'"
INSERT_MANY = f"""
INSERT INTO bare.live ({COLUMNS})
SELECT {VALUES}, unnest(%s::text[])::json RETURNING id
"""

CLAIM = """
WITH head AS MATERIALIZED (
    SELECT id FROM bare.live WHERE state = 'available' AND queue = 'default'
    ORDER BY priority, run_at, id LIMIT %s FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE bare.live AS job
SET state = 'running', attempt = attempt + 1, worker_id = %s,
    claimed_at = clock_timestamp(), lease_until = clock_timestamp() + interval '30 seconds'
FROM head WHERE job.id = head.id
RETURNING job.id, job.attempt, job.args::text
"""

FINISH = """
WITH outcome AS MATERIALIZED (
    SELECT * FROM unnest(%s::bigint[], %s::bigint[]) AS given (id, attempt)
), done AS (
    DELETE FROM bare.live AS job USING outcome
    WHERE job.id = outcome.id AND job.attempt = outcome.attempt
        AND job.worker_id = %s AND job.state = 'running'
    RETURNING job.*
)
INSERT INTO bare.history (
    id, attempt, created_at, run_at, started_at, finished_at, expires_on, failures, crashes,
    max_attempts, priority, state, queue, task, worker_id, key, actor, schedule_id, scheduled_for,
    batch_id, args, metadata
)
SELECT id, attempt, created_at, run_at, claimed_at, clock_timestamp(), (now() + keep)::date,
    failures, crashes, max_attempts, priority, 'succeeded', queue, task, worker_id, key, actor,
    schedule_id, scheduled_for, batch_id, args, metadata
FROM done
RETURNING id
"""


def who(batch: int) -> str:
    return f"bare, fused loop {batch}"


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
    worker = uuid4()
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=0) as connection:
        for setting in ("seqscan", "hashjoin", "mergejoin", "bitmapscan"):
            connection.execute(f"SET enable_{setting} = off")
        connection.execute("SET plan_cache_mode = force_generic_plan")
        yield
        held: list[tuple[int, int, str]] = []
        while True:
            with connection.pipeline():
                pairs = [row[0] for row in held], [row[1] for row in held]
                finish = connection.execute(FINISH, (*pairs, worker))
                claim = connection.execute(CLAIM, (batch, worker))
            require(len(finish.fetchall()) == len(held), "a finish of the fused loop was refused")
            held = claim.fetchall()
            if not held:
                return


def require_drained(dsn: str, jobs: int) -> None:
    """No row is left, and history holds exactly *jobs*."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "SELECT (SELECT count(*) FROM bare.live), (SELECT count(*) FROM bare.history)"
        ).fetchone()
    require(row == (0, jobs), f"fused loop: {row} rows left and archived instead of (0, {jobs})")
