"""What the same work costs in bare SQL: lean tables, one loop, no handlers, no fence.

The ceiling that pgqueue is measured against, not a queue anybody should run.
"""

import json
import time

import psycopg

PAYLOAD = json.dumps({"user_id": 123456, "template": "welcome", "pad": "x" * 48})

TABLES = """
DROP SCHEMA IF EXISTS raw CASCADE;
CREATE SCHEMA raw;
CREATE TABLE raw.jobs (
    id bigserial PRIMARY KEY,
    run_at timestamptz NOT NULL DEFAULT now(),
    priority smallint NOT NULL DEFAULT 100,
    state text NOT NULL DEFAULT 'available',
    payload json NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX ON raw.jobs (priority, run_at, id) WHERE state = 'available';
CREATE TABLE raw.done (
    id bigint, run_at timestamptz, finished_at timestamptz, priority smallint, payload json
);
CREATE INDEX ON raw.done (id);
"""

CLAIM = """
WITH head AS MATERIALIZED (
    SELECT id FROM raw.jobs WHERE state = 'available'
    ORDER BY priority, run_at, id LIMIT %s FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE raw.jobs AS job SET state = 'running' FROM head WHERE job.id = head.id
RETURNING job.id, job.payload::text
"""

FINISH = """
WITH gone AS (DELETE FROM raw.jobs WHERE id = ANY(%s::bigint[]) RETURNING *)
INSERT INTO raw.done SELECT id, run_at, now(), priority, payload FROM gone
"""

INSERT = "INSERT INTO raw.jobs (payload) VALUES (%s::json) RETURNING id"
INSERT_MANY = "INSERT INTO raw.jobs (payload) SELECT unnest(%s::text[])::json RETURNING id"


def fill(dsn: str, jobs: int) -> float:
    """Insert *jobs* rows in batches of 5,000 in one transaction; return the seconds it took."""
    with psycopg.connect(dsn) as connection:
        connection.execute(TABLES)
        connection.commit()
        begun = time.perf_counter()
        for start in range(0, jobs, 5000):
            count = min(5000, jobs - start)
            connection.execute(INSERT_MANY, ([PAYLOAD] * count,)).fetchall()
        connection.commit()
        return time.perf_counter() - begun


def drain(dsn: str, batch: int) -> int:
    """Finish the last batch and claim the next in one transaction until nothing is left."""
    done = 0
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=0) as connection:
        connection.execute("SET enable_seqscan = off")
        held: list[int] = []
        while True:
            with connection.pipeline():
                connection.execute(FINISH, (held,))
                claim = connection.execute(CLAIM, (batch,))
            held = [row[0] for row in claim.fetchall()]
            if not held:
                return done
            done += len(held)


def insert_singly(dsn: str, count: int) -> float:
    """Insert *count* rows, each with its own commit; return the seconds it took."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(INSERT, (PAYLOAD,))
        begun = time.perf_counter()
        for _ in range(count):
            connection.execute(INSERT, (PAYLOAD,)).fetchone()
        return time.perf_counter() - begun
