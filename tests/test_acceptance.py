"""What a convention for asynchronous jobs asks of any queue, from enqueue to outcome.

The other numbers stand where their subject is tested.
"""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg
import pytest

import pgqueue
from pgqueue import Exponential, Fixed, JobEvent, NewJob, Tasks, Until
from pgqueue.storage import upkeep
from pgqueue.storage.drivers import run
from pgqueue.worker import Settings, Worker

QUICK = Settings(poll=timedelta(milliseconds=100))


def run_until(tasks: Tasks, dsn: str, condition: Callable[[psycopg.Connection], bool]) -> None:
    """Work until *condition* holds on a connection that commits by itself."""

    async def work() -> None:
        with psycopg.connect(dsn, autocommit=True) as connection:
            async with asyncio.timeout(60), Worker(tasks, dsn, QUICK):
                while not condition(connection):
                    await asyncio.sleep(0.02)

    asyncio.run(work())


def enqueue(dsn: str, *jobs: NewJob) -> list[int]:
    with psycopg.connect(dsn) as connection:
        return [each.id for each in pgqueue.enqueue_many(connection, jobs)]


def value(connection: psycopg.Connection, query: str, *parameters: Any) -> Any:
    row = connection.execute(query, parameters).fetchone()
    return None if row is None else row[0]


def state(connection: psycopg.Connection, job: int) -> str:
    return str(value(connection, "SELECT state FROM pgqueue.all_jobs WHERE id = %s", job))


class BusinessError(Exception):
    pass


def send_an_email(dsn: str) -> int:
    """Run a job that sends an email, and return its id."""
    tasks = Tasks()

    @tasks.task("send-email")
    async def send_email(user_id: str, template_id: str) -> dict[str, str]:
        return {"sent": f"{template_id} to {user_id}"}

    (job,) = enqueue(dsn, send_email.job(user_id="123", template_id="welcome"))
    run_until(tasks, dsn, lambda connection: state(connection, job) == "succeeded")
    return job


def test_acceptance_1_a_job_that_is_waited_for_has_its_result(dsn: str) -> None:
    job = send_an_email(dsn)

    with psycopg.connect(dsn) as connection:
        result = value(connection, "SELECT result FROM pgqueue.all_jobs WHERE id = %s", job)
    assert result == {"sent": "welcome to 123"}


def test_acceptance_9_a_finished_job_has_left_the_queue_and_stays_in_history(dsn: str) -> None:
    job = send_an_email(dsn)

    with psycopg.connect(dsn) as connection:
        assert value(connection, "SELECT count(*) FROM pgqueue.jobs") == 0
        kept = connection.execute(
            "SELECT args, result, attempt, failures FROM pgqueue.finished_jobs WHERE id = %s",
            (job,),
        ).fetchone()
    args = {"user_id": "123", "template_id": "welcome"}
    assert kept == (args, {"sent": "welcome to 123"}, 1, 0)


def test_acceptance_5_backoff_doubles_from_two_seconds_to_a_minute(dsn: str) -> None:
    tasks = Tasks()

    @tasks.task("fails", max_attempts=8, backoff=Exponential(base=2, max_delay=60, jitter=0))
    async def fails() -> None:
        raise BusinessError("again")

    (job,) = enqueue(dsn, fails.job())
    delays: list[float] = []

    def bring_forward(connection: psycopg.Connection) -> bool:
        """Note how long the job is to wait, and have it wait no longer."""
        delay = value(
            connection,
            "UPDATE pgqueue.jobs SET run_at = now() FROM ("
            " SELECT run_at - max(ended_at) AS delay FROM pgqueue.jobs, pgqueue.attempts"
            " WHERE id = %s AND job_id = id AND state = 'scheduled' AND run_at > now()"
            " GROUP BY run_at HAVING count(*) > %s"
            ") AS waiting WHERE id = %s RETURNING waiting.delay",
            job,
            len(delays),
            job,
        )
        if delay is not None:
            delays.append(delay.total_seconds())
        return state(connection, job) == "dead"

    run_until(tasks, dsn, bring_forward)

    # The end of the attempt is a little before its outcome was written.
    assert delays == pytest.approx([2, 4, 8, 16, 32, 60, 60], abs=1.0)


def test_acceptance_6_a_refused_connection_is_tried_ten_times_and_bad_business_never_again(
    dsn: str,
) -> None:
    tasks = Tasks()

    @tasks.task(
        "call",
        max_attempts=5,
        backoff=Fixed(0),
        retry_on={ConnectionRefusedError: Until(10), BusinessError: False},
    )
    async def call(kind: str) -> None:
        raise {"refused": ConnectionRefusedError, "business": BusinessError}.get(kind, KeyError)()

    refused, business, other = enqueue(
        dsn, *(call.job(kind=k) for k in ("refused", "business", ""))
    )
    run_until(
        tasks,
        dsn,
        lambda connection: (
            value(connection, "SELECT count(*) FROM pgqueue.jobs WHERE state = 'dead'") == 3
        ),
    )

    with psycopg.connect(dsn) as connection:
        dead = connection.execute("SELECT id, failures, reason FROM pgqueue.jobs").fetchall()
    assert set(dead) == {
        (refused, 10, "attempts_exhausted"),
        (business, 1, "non_retryable"),
        (other, 5, "attempts_exhausted"),
    }


def test_acceptance_8_the_hook_of_a_failure_is_told_what_failed(dsn: str) -> None:
    tasks = Tasks()
    failed: list[JobEvent] = []
    dead: list[JobEvent] = []

    @tasks.task("fails", max_attempts=2, backoff=Fixed(0))
    async def fails() -> None:
        raise BusinessError("order 17 is closed")

    @tasks.on_attempt_failed
    async def note(event: JobEvent) -> None:
        failed.append(event)

    @tasks.on_dead
    def bury(event: JobEvent) -> None:
        dead.append(event)

    (job,) = enqueue(dsn, fails.job().options(metadata={"trace_id": "abc"}))
    run_until(tasks, dsn, lambda _: len(failed) == 2 and len(dead) == 1)

    first, second = failed
    assert (first.job_id, first.job_name, first.queue) == (job, "fails", "default")
    assert (first.error, first.attempts_made, first.max_attempts) == ("order 17 is closed", 1, 2)
    assert first.error_type is not None
    assert first.error_type.endswith("BusinessError")
    assert first.will_retry
    assert first.next_run_at is not None
    assert first.fingerprint == second.fingerprint
    assert first.trace_id == "abc"
    assert (second.attempts_made, second.will_retry, second.next_run_at) == (2, False, None)
    assert [event.reason for event in dead] == ["attempts_exhausted"]


def test_acceptance_10_the_dead_stay_until_a_person_says_otherwise(dsn: str) -> None:
    tasks = Tasks()

    @tasks.task("fails", max_attempts=1, keep=0)
    async def fails() -> None:
        raise BusinessError

    (job,) = enqueue(dsn, fails.job())
    run_until(tasks, dsn, lambda connection: state(connection, job) == "dead")

    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("UPDATE pgqueue.jobs SET died_at = died_at - interval '3 years'")
        run(connection, upkeep.prune(limit=1000))
        run(connection, upkeep.forget_partitions())
        assert state(connection, job) == "dead"
        assert pgqueue.discard(connection, job, reason="seen") == "discarded"


def test_acceptance_20_the_dead_letter_is_filled_analysed_edited_and_redriven(dsn: str) -> None:
    tasks = Tasks()

    @tasks.task("charge", max_attempts=2, backoff=Fixed(0), retry_on={ValueError: False})
    async def charge(amount: int) -> int:
        if amount < 0:
            raise ValueError(f"amount {amount} is negative")
        if amount == 0:
            raise BusinessError("nothing to charge")
        return amount

    exhausted, refused, same = enqueue(dsn, *(charge.job(amount=a) for a in (0, -5, -7)))
    jobs = [exhausted, refused, same]
    run_until(tasks, dsn, lambda connection: all(state(connection, j) == "dead" for j in jobs))

    with psycopg.connect(dsn, autocommit=True) as connection:
        rows = connection.execute(
            "SELECT id, reason, error, fingerprint, json_array_length(history), history"
            " FROM pgqueue.jobs ORDER BY id"
        ).fetchall()
        assert [row[1] for row in rows] == ["attempts_exhausted", "non_retryable", "non_retryable"]
        assert [row[4] for row in rows] == [2, 1, 1], "every attempt is kept"
        assert rows[1][2] == "amount -5 is negative"
        assert rows[1][3] == rows[2][3] != rows[0][3], "equal errors have one fingerprint"
        assert "ValueError: amount -5 is negative" in rows[1][5][0]["traceback"]
        mended = charge.job(amount=5).args
        answer = pgqueue.retry(connection, refused, args=mended, actor="ann", reason="typo")
        assert answer == "available"
    run_until(tasks, dsn, lambda connection: state(connection, refused) == "succeeded")

    with psycopg.connect(dsn) as connection:
        assert value(connection, "SELECT result FROM pgqueue.all_jobs WHERE id = %s", refused) == 5
        assert value(connection, "SELECT attempt FROM pgqueue.all_jobs WHERE id = %s", refused) == 2
        audit = connection.execute(
            "SELECT verb, actor, reason FROM pgqueue.audit WHERE job_id = %s", (refused,)
        )
        assert audit.fetchall() == [("retry", "ann", "typo")]
