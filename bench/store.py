"""pgqueue's tables, as the bench sees them: emptied, counted, checked."""

import psycopg

from bench.failure import require

TABLES = (
    "pgqueue.jobs, pgqueue.finished_jobs, pgqueue.attempts, pgqueue.job_keys, pgqueue.queues,"
    " pgqueue.batches, pgqueue.batch_outcomes"
)


def clear(dsn: str) -> None:
    """Empty the tables: each round begins with as little behind it as the first."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"TRUNCATE {TABLES}")


def settle(dsn: str, tables: str = "pgqueue.jobs") -> None:
    """What a server does between two bursts of work, so that it does not fall into one of them."""
    analyze(dsn, tables)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CHECKPOINT")


def analyze(dsn: str, tables: str) -> None:
    """Give the planner statistics, as autovacuum would in time."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"ANALYZE {tables}")


def last_id(connection: psycopg.Connection) -> int:
    """The highest id that was given to a job."""
    row = connection.execute("SELECT last_value FROM pgqueue.jobs_id_seq").fetchone()
    assert row is not None
    return int(row[0])


def any_left(connection: psycopg.Connection, beyond: int = 0) -> bool:
    """Whether a job with a higher id than *beyond* is still in the live table. By primary key: a
    look at the whole table would walk over every dead row in it, and EXISTS would forget the
    order."""
    row = connection.execute(
        "SELECT id FROM pgqueue.jobs WHERE id > %s ORDER BY id LIMIT 1", [beyond]
    ).fetchone()
    return row is not None


def require_finished(dsn: str, jobs: int) -> None:
    """No job is left, and history holds exactly *jobs* that succeeded."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "SELECT (SELECT count(*) FROM pgqueue.jobs),"
            " (SELECT count(*) FROM pgqueue.finished_jobs WHERE state = 'succeeded'),"
            " (SELECT count(*) FROM pgqueue.attempts)"
        ).fetchone()
    assert row is not None
    left, succeeded, failed = row
    require(left == 0, f"{left} of {jobs} jobs are left in the live table")
    require(succeeded == jobs, f"{succeeded} jobs in history instead of {jobs}")
    require(failed == 0, f"{failed} attempts failed")


def count(dsn: str, rows: str) -> int:
    """How many *rows* there are: a table, with a condition if need be."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute(f"SELECT count(*) FROM {rows}").fetchone()  # noqa: S608  the bench's
    assert row is not None
    return int(row[0])
