"""Fills the tables by plain SQL, where it would take a worker too long."""

import psycopg

_JOBS = """
INSERT INTO pgqueue.jobs
    (run_at, created_at, max_attempts, max_crashes, priority, state, queue, task, keep, args)
SELECT {run_at}, now(), 5, 3, 100, {state}, {queue}, {task}, '7 days', %(args)s::json
FROM generate_series(1, %(jobs)s) AS n
"""
_AVAILABLE = _JOBS.format(
    run_at="now() - interval '1 hour'", state="'available'", queue="%(queue)s", task="%(task)s"
)
_SCHEDULED = _JOBS.format(
    run_at="now() + interval '1 day' + n * interval '1 ms'",
    state="'scheduled'",
    queue="'default'",
    task="'noop'",
)
# Spread over the days on which history is emptied, as a week of work leaves it.
_FINISHED = """
INSERT INTO pgqueue.finished_jobs (
    id, attempt, created_at, run_at, started_at, finished_at, expires_on, failures, crashes,
    max_attempts, priority, state, queue, task, worker_id, args
)
SELECT nextval('pgqueue.jobs_id_seq'), 1, moment, moment, moment, moment,
    (now() + d * interval '1 day')::date, 0, 0, 5,
    100, 'succeeded', 'default', 'noop', gen_random_uuid(), %(args)s::json
FROM (
    SELECT n %% 7 + 1 AS d, now() - (7 - n %% 7) * interval '1 day' AS moment
    FROM generate_series(1, %(jobs)s) AS n
) AS day
"""
CHUNK = 200_000


def seed_available(
    dsn: str, jobs: int, args: str, *, queue: str = "default", task: str = "noop"
) -> None:
    """Jobs that wait, older than all that is enqueued from now on."""
    _seed(dsn, _AVAILABLE, jobs, args=args, queue=queue, task=task)


def seed_scheduled(dsn: str, jobs: int, args: str) -> None:
    """Jobs for tomorrow."""
    _seed(dsn, _SCHEDULED, jobs, args=args)


def seed_finished(dsn: str, jobs: int, args: str) -> None:
    """A week of history."""
    _seed(dsn, _FINISHED, jobs, args=args)


def _seed(dsn: str, statement: str, jobs: int, **params: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        for start in range(0, jobs, CHUNK):
            connection.execute(statement, {"jobs": min(CHUNK, jobs - start), **params})
        connection.execute("VACUUM (ANALYZE) pgqueue.jobs, pgqueue.finished_jobs")
        connection.execute("CHECKPOINT")
