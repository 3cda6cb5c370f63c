"""Steering jobs from the application: in its transaction, audited."""

import asyncio

import psycopg
import pytest
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

import pgqueue
from pgqueue import NewJob, State
from tests.postgres import url_of


def state_of(connection: psycopg.Connection, job_id: int) -> str:
    row = connection.execute(
        "SELECT state FROM pgqueue.all_jobs WHERE id = %s", (job_id,)
    ).fetchone()
    assert row is not None
    return str(row[0])


def bury(connection: psycopg.Connection, job_id: int) -> None:
    connection.execute(
        "UPDATE pgqueue.jobs SET state = 'dead', reason = 'non_retryable', died_at = now()"
        " WHERE id = %s",
        (job_id,),
    )


def test_a_waiting_job_is_cancelled_and_the_audit_says_by_whom(
    connection: psycopg.Connection,
) -> None:
    job = pgqueue.enqueue(connection, NewJob("t"))

    assert pgqueue.cancel(connection, job.id, actor="ann", reason="not needed") == "cancelled"

    assert state_of(connection, job.id) == State.CANCELLED
    audit = connection.execute(
        "SELECT verb, actor, reason FROM pgqueue.audit WHERE job_id = %s", (job.id,)
    ).fetchall()
    assert audit == [("cancel", "ann", "not needed")]
    assert pgqueue.cancel(connection, job.id) == State.CANCELLED
    assert pgqueue.cancel(connection, -1) == "unknown"


def test_a_dead_job_is_run_again_with_other_arguments(connection: psycopg.Connection) -> None:
    job = pgqueue.enqueue(connection, NewJob("t", '{"n": 1}'))
    assert pgqueue.retry(connection, job.id) == State.AVAILABLE
    bury(connection, job.id)

    assert pgqueue.retry(connection, job.id, args='{"n": 2}') == "available"

    row = connection.execute(
        "SELECT state, args::text, failures FROM pgqueue.jobs WHERE id = %s", (job.id,)
    ).fetchone()
    assert row == ("available", '{"n": 2}', 0)


def test_a_job_that_is_available_already_gets_the_arguments_of_its_retry(
    connection: psycopg.Connection,
) -> None:
    job = pgqueue.enqueue(connection, NewJob("t", '{"n": 1}'))

    assert pgqueue.retry(connection, job.id, args='{"n": 2}') == "available"

    row = connection.execute(
        "SELECT args::text FROM pgqueue.jobs WHERE id = %s", (job.id,)
    ).fetchone()
    assert row == ('{"n": 2}',)


def test_only_a_dead_job_can_be_discarded(connection: psycopg.Connection) -> None:
    job = pgqueue.enqueue(connection, NewJob("t"))
    assert pgqueue.discard(connection, job.id, reason="spam") == State.AVAILABLE
    bury(connection, job.id)

    assert pgqueue.discard(connection, job.id, reason="spam", actor="ann") == "discarded"

    assert state_of(connection, job.id) == State.DISCARDED


def test_a_verb_is_part_of_the_callers_transaction(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        job = pgqueue.enqueue(connection, NewJob("t"))
        connection.commit()
        with create_engine(url_of(dsn), poolclass=NullPool).connect() as alchemy:
            assert pgqueue.cancel(alchemy, job.id) == "cancelled"
            alchemy.rollback()
        assert state_of(connection, job.id) == State.AVAILABLE


@pytest.mark.parametrize("verb", ["cancel", "retry", "discard"])
def test_every_verb_works_on_asynchronous_connections(dsn: str, verb: str) -> None:
    with psycopg.connect(dsn) as connection:
        job = pgqueue.enqueue(connection, NewJob("t"))
        if verb != "cancel":
            bury(connection, job.id)

    async def act() -> str:
        engine = create_async_engine(url_of(dsn))
        async with engine.begin() as alchemy:
            if verb == "cancel":
                answer = await pgqueue.cancel_async(alchemy, job.id)
            elif verb == "retry":
                answer = await pgqueue.retry_async(alchemy, job.id)
            else:
                answer = await pgqueue.discard_async(alchemy, job.id, reason="r")
        await engine.dispose()
        return answer

    expected = {"cancel": "cancelled", "retry": "available", "discard": "discarded"}
    assert asyncio.run(act()) == expected[verb]
    with psycopg.connect(dsn) as connection:
        assert state_of(connection, job.id) == expected[verb]
