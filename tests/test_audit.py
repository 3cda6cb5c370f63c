"""Who did what, and when: written down for good, and found by whom it was done for."""

from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.errors import InsufficientPrivilege

import pgqueue
from pgqueue import NewJob
from pgqueue.job import Reason
from pgqueue.outcome import Died, Failure, Retried, Succeeded
from pgqueue.storage import finishing
from pgqueue.storage.drivers import run
from pgqueue.worker.clock import boottime
from tests.rows import WORKER, claim_one

Connection = psycopg.Connection[Any]

FAILURE = Failure("E", "secret words", "trace", "print")


def happened(connection: Connection, where: str) -> list[tuple[Any, ...]]:
    """Action, job, attempt, who did it and why, in order."""
    return connection.execute(
        sql.SQL(
            "SELECT action, job_id, attempt, done_by, reason FROM pgqueue.audit_trail"
            " WHERE {} ORDER BY at, attempt"
        ).format(sql.SQL(where))
    ).fetchall()


def finish(connection: Connection, kind: Any, *rest: Any) -> None:
    job, now = claim_one(connection), boottime()
    outcome = kind(job, now, now, *rest)
    assert run(connection, finishing.finish([outcome], worker_id=WORKER, moment=now)) == {job.id}


def test_acceptance_26_what_an_actor_caused_and_who_touched_it(connection: Connection) -> None:
    job = pgqueue.enqueue(connection, NewJob("work"), actor="123").id
    finish(connection, Retried, FAILURE, 0.0)
    finish(connection, Died, FAILURE, Reason.UNAUTHORIZED)
    assert ("dead", job, 2, None, "unauthorized") in happened(connection, "actor = '123'")
    pgqueue.retry(connection, job, actor="olga", reason="the permit is there now")
    finish(connection, Succeeded, '"secret result"')
    waiting = pgqueue.enqueue(connection, NewJob("work"), actor="123", delay=60).id
    pgqueue.cancel(connection, waiting, actor="olga")
    pgqueue.enqueue(connection, NewJob("work"), actor="456")

    expected = [
        ("enqueue", job, 0, None, None),
        ("start", job, 1, WORKER, None),
        ("failed", job, 1, WORKER, None),
        ("start", job, 2, WORKER, None),
        ("failed", job, 2, WORKER, None),
        ("retry", job, 3, "olga", "the permit is there now"),
        ("start", job, 3, WORKER, None),
        ("succeeded", job, 3, WORKER, None),
        ("enqueue", waiting, 0, None, None),
        ("cancel", waiting, 0, "olga", None),
        ("cancelled", waiting, 0, None, None),
    ]
    # Not in one order: within a millisecond the worker's clock and the database's may differ.
    assert sorted(happened(connection, "actor = '123'"), key=str) == sorted(expected, key=str)
    assert [row[:2] for row in happened(connection, "done_by = 'olga'")] == [
        ("retry", job),
        ("cancel", waiting),
    ]
    everything = connection.execute("SELECT audit_trail::text FROM pgqueue.audit_trail").fetchall()
    assert "secret" not in str(everything)


def test_acceptance_26_a_time_is_a_time(connection: Connection) -> None:
    pgqueue.enqueue(connection, NewJob("work"), actor="123")
    connection.execute("UPDATE pgqueue.jobs SET created_at = now() - interval '2 days'")
    late = pgqueue.enqueue(connection, NewJob("work"), actor="123").id
    found = happened(connection, "actor = '123' AND at >= now() - interval '1 day'")
    assert [row[1] for row in found] == [late]


def test_verbs_on_queues_are_in_it_and_those_on_jobs_whose_history_is_over(
    connection: Connection,
) -> None:
    connection.execute("SELECT pgqueue.pause('email', 'olga', 'too many')")
    connection.execute("SELECT pgqueue.record_verb('discard', 'olga', 4711, NULL, 'gone')")
    assert [row[:2] for row in happened(connection, "done_by = 'olga'")] == [
        ("pause", None),
        ("discard", 4711),
    ]


def test_it_says_whose_connection_it_was_whatever_the_tool_says(connection: Connection) -> None:
    job = pgqueue.enqueue(connection, NewJob("work"), delay=60).id
    pgqueue.cancel(connection, job, actor="nobody at all")
    assert connection.execute(
        "SELECT db_user = session_user FROM pgqueue.audit_trail WHERE done_by = 'nobody at all'"
    ).fetchone() == (True,)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE pgqueue.audit SET actor = 'somebody else'",
        "DELETE FROM pgqueue.audit",
        "TRUNCATE pgqueue.audit",
    ],
)
def test_acceptance_26_what_was_written_down_stays_even_for_the_owner(
    connection: Connection, statement: str
) -> None:
    connection.execute("SELECT pgqueue.pause('email')")
    with pytest.raises(InsufficientPrivilege, match="only grows"):
        connection.execute(statement)


def test_the_question_goes_by_indexes_however_much_history_there_is(
    connection: Connection,
) -> None:
    connection.execute(
        """
        INSERT INTO pgqueue.finished_jobs (
            id, attempt, created_at, run_at, finished_at, expires_on, failures, crashes,
            max_attempts, priority, state, queue, task, actor, args)
        SELECT 1000000 + n, 1, now() - n * interval '1 s', now(), now(),
            current_date + 1 + n % 10, 0, 0, 5, 100, 'succeeded', 'q', 't', (n % 1000)::text, '{}'
        FROM generate_series(1, 40000) AS n
        """
    )
    connection.execute(
        """
        INSERT INTO pgqueue.jobs (
            run_at, created_at, max_attempts, max_crashes, priority, state, queue, task, actor,
            keep, args)
        SELECT now(), now(), 5, 3, 100, 'available', 'q', 't', (n % 1000)::text, '7 days', '{}'
        FROM generate_series(1, 20000) AS n
        """
    )
    connection.execute(
        "INSERT INTO pgqueue.attempts (job_id, attempt, ended_at, expires_on, outcome, queue, task)"
        " SELECT 1000000 + n, 1, now(), current_date + 1 + n % 10, 'failed', 'q', 't'"
        " FROM generate_series(1, 20000) AS n"
    )
    connection.execute(
        "INSERT INTO pgqueue.audit (actor, verb, job_id)"
        " SELECT 'a', 'retry', 1000000 + n FROM generate_series(1, 20000) AS n"
    )
    connection.execute(
        "ANALYZE pgqueue.jobs, pgqueue.finished_jobs, pgqueue.attempts, pgqueue.audit"
    )
    plan = "\n".join(
        row[0]
        for row in connection.execute(
            "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) SELECT * FROM pgqueue.audit_trail"
            " WHERE actor = '123' AND at >= now() - interval '1 hour'"
        )
    )
    for table in ("jobs", "finished_jobs", "attempts", "audit"):
        for line in plan.splitlines():
            # A small or empty partition may be read whole.
            if f"Seq Scan on {table}" in line:
                assert "rows=0" in line, plan
    assert "jobs_actor" in plan
    assert "actor_created_at_idx" in plan or "finished_jobs_actor" in plan
