"""Jobs as rows: put into any state, claimed, and looked at, without a worker."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import uuid4

import psycopg
from psycopg.rows import namedtuple_row

from pgqueue.job import Job
from pgqueue.options import NewJob
from pgqueue.storage import claiming, enqueueing, jobs
from pgqueue.storage.drivers import run

Connection = psycopg.Connection[Any]

WORKER = str(uuid4())
OTHER_WORKER = str(uuid4())
LEASE = timedelta(seconds=30)


def add(connection: Connection, **options: Any) -> int:
    """Enqueue a job of task ``work``; return its id."""
    job = NewJob(options.pop("task", "work"), options.pop("args", "{}"))
    return run(connection, enqueueing.enqueue([job.options(**options)]))[0].id


def claim(
    connection: Connection,
    *,
    limit: int = 1000,
    worker_id: str = WORKER,
    queues: Sequence[str] = ("default",),
    tasks: Sequence[str] = ("work", "greet"),
) -> list[Job]:
    limits = dict.fromkeys(queues, limit)
    operation = claiming.claim(worker_id=worker_id, limits=limits, tasks=tasks, lease=LEASE)
    return run(connection, operation).jobs


def claim_one(connection: Connection, **how: Any) -> Job:
    (job,) = claim(connection, limit=1, **how)
    return job


def claim_suspects(connection: Connection, *, few: int = 10, worker_id: str = WORKER) -> list[Job]:
    return run(
        connection,
        claiming.claim_suspects(
            worker_id=worker_id, queues=["default"], tasks=["work"], lease=LEASE, few=few
        ),
    )


def lapse(connection: Connection) -> None:
    """Let every lease have run out."""
    connection.execute(
        "UPDATE pgqueue.jobs SET lease_until = now() - interval '1 s' WHERE state = 'running'"
    )


def crash(connection: Connection) -> list[Job]:
    """Run what waits, suspects or not, on a worker that vanishes; return what it had claimed."""
    claimed = claim(connection) + claim_suspects(connection)
    lapse(connection)
    run(connection, jobs.rescue(limit=1000))
    return claimed


def job_row(connection: Connection, job_id: int) -> Any:
    """The job's row, wherever it is; None if it is gone."""
    with connection.cursor(row_factory=namedtuple_row) as cursor:
        return (
            cursor.execute("SELECT * FROM pgqueue.jobs WHERE id = %s", [job_id]).fetchone()
            or cursor.execute(
                "SELECT * FROM pgqueue.finished_jobs WHERE id = %s", [job_id]
            ).fetchone()
        )


def attempt_rows(connection: Connection, job_id: int) -> list[Any]:
    with connection.cursor(row_factory=namedtuple_row) as cursor:
        return cursor.execute(
            "SELECT * FROM pgqueue.attempts WHERE job_id = %s ORDER BY attempt, ended_at", [job_id]
        ).fetchall()


def in_state(connection: Connection, state: str) -> list[int]:
    """The ids of the jobs that are in *state*, sorted."""
    rows = connection.execute(
        "SELECT id FROM pgqueue.all_jobs WHERE state = %s ORDER BY id", [state]
    )
    return [row[0] for row in rows]
