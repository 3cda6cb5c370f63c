"""A test sees what was enqueued, and an assertion that does not hold says what there is instead."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from unittest.mock import ANY
from uuid import UUID

import psycopg
import pytest

from pgqueue import InvalidOption, NewJob, Tasks, enqueue
from pgqueue.testing import (
    EnqueuedJob,
    assert_enqueued,
    assert_enqueued_async,
    assert_not_enqueued,
    assert_not_enqueued_async,
    enqueued_jobs,
    enqueued_jobs_async,
)
from tests.connections import KINDS, Application

Connection = psycopg.Connection[Any]

tasks = Tasks()


@tasks.task("send-email", queue="email", aliases=["mail"])
def send_email(user_id: int, template: str = "welcome", ticket: UUID | None = None) -> None: ...


@tasks.task("other")
def other() -> None: ...


@pytest.fixture(params=KINDS)
def application(request: pytest.FixtureRequest, shared_dsn: str) -> Iterator[Application]:
    with KINDS[request.param](shared_dsn) as application:
        yield application
        application.rollback()


def test_it_is_seen_on_every_kind_of_connection(application: Application) -> None:
    is_async = "async" in type(application.connection).__module__ or isinstance(
        application.connection, psycopg.AsyncConnection
    )
    seen: Any = assert_enqueued_async if is_async else assert_enqueued
    unseen: Any = assert_not_enqueued_async if is_async else assert_not_enqueued
    listed: Any = enqueued_jobs_async if is_async else enqueued_jobs
    application.enqueue(send_email.job(1))

    (job,) = application.do(seen(application.connection, send_email, containing={"user_id": 1}))
    assert application.do(listed(application.connection, send_email)) == [job]
    application.do(unseen(application.connection, other))
    with pytest.raises(AssertionError, match="send-email"):
        application.do(seen(application.connection, other))
    with pytest.raises(AssertionError, match="expected 0 job"):
        application.do(unseen(application.connection, send_email))


def test_a_job_is_there_as_it_was_given(connection: Connection) -> None:
    ticket = UUID(int=7)
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    job = send_email.job(1, ticket=ticket).options(
        key="k", actor="ann", priority=3, metadata={"a": 1}, run_at=moment, max_attempts=2
    )
    enqueue(connection, job)

    (seen,) = enqueued_jobs(connection, send_email)
    assert isinstance(seen, EnqueuedJob)
    assert seen.args == {"user_id": 1, "ticket": ticket}
    assert (seen.queue, seen.key, seen.actor, seen.priority) == ("email", "k", "ann", 3)
    assert (seen.metadata, seen.run_at, seen.max_attempts) == ({"a": 1}, moment, 2)


def test_jobs_are_counted_and_chosen_by_arguments_and_fields(connection: Connection) -> None:
    enqueue(connection, send_email.job(1))
    enqueue(connection, send_email.job(2), delay=60, actor="ann")
    enqueue(connection, other.job())

    assert len(assert_enqueued(connection, send_email)) == 2
    assert_enqueued(connection, send_email, count=2)
    assert_enqueued(connection, "send-email", containing={"user_id": 2}, count=1)
    assert_enqueued(connection, send_email, containing={"user_id": ANY}, delay=60, actor="ann")
    assert_enqueued(connection, send_email, queue="email", state="scheduled", count=1)
    assert_not_enqueued(connection, send_email, containing={"user_id": 3})
    assert_not_enqueued(connection, send_email, queue="default")
    assert [job.task for job in enqueued_jobs(connection)] == ["send-email", "send-email", "other"]


def test_an_argument_that_is_not_there_is_not_taken_for_none(connection: Connection) -> None:
    enqueue(connection, send_email.job(1))

    assert_not_enqueued(connection, send_email, containing={"ticket": None})


def test_a_former_name_counts(connection: Connection) -> None:
    enqueue(connection, NewJob("mail", '{"user_id": 1}'))

    assert_enqueued(connection, send_email, containing={"user_id": 1})


def test_the_error_lists_what_was_enqueued_instead(connection: Connection) -> None:
    enqueue(connection, send_email.job(1), delay=60)
    enqueue(connection, other.job())

    with pytest.raises(AssertionError) as caught:
        assert_enqueued(connection, send_email, containing={"user_id": 2}, queue="email")

    error = str(caught.value)
    assert "expected at least one job of 'send-email' containing {'user_id': 2}" in error
    assert "with queue='email', found 0" in error
    assert "{'user_id': 1} (queue email, scheduled, due after 60 s)" in error
    assert "{} (queue default, available)" in error


def test_the_error_says_that_there_is_nothing(connection: Connection) -> None:
    with pytest.raises(AssertionError, match="no job at all was enqueued"):
        assert_enqueued(connection, "send-email")


def test_a_long_list_is_cut(connection: Connection) -> None:
    for n in range(30):
        enqueue(connection, send_email.job(n))

    with pytest.raises(AssertionError, match="and 10 before these"):
        assert_not_enqueued(connection, send_email)


def test_a_field_that_no_job_has_is_no_condition(connection: Connection) -> None:
    with pytest.raises(InvalidOption, match="retries: a job has no such field"):
        assert_enqueued(connection, send_email, retries=3)


def test_arguments_of_types_that_nobody_named_are_plain(connection: Connection) -> None:
    enqueue(connection, NewJob("unknown", '{"color": {"$enum": "Color.RED"}}'))

    (job,) = enqueued_jobs(connection)
    assert "color" in job.args
