"""Jobs run where they are enqueued, and handlers that only record their calls."""

import asyncio
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from pgqueue import (
    Context,
    Fixed,
    Tasks,
    UnsupportedConnection,
    enqueue,
    enqueue_batch,
    enqueue_chunked,
    enqueue_many,
)
from pgqueue.testing import assert_enqueued, drain, fake, inline
from tests.connections import KINDS, Application

Connection = psycopg.Connection[Any]

tasks = Tasks(transaction=object)  # never called: inline has a connection of its own
ran: list[Any] = []


@tasks.task("note")
def note(entry: Any) -> Any:
    ran.append(entry)
    return entry


@tasks.task("note-on-the-loop")
async def note_on_the_loop(ctx: Context, entry: Any) -> Any:
    ran.append((ctx.task, entry))
    return entry


@tasks.task("import")
def import_items(items: list[int], chunk_index: int, total_chunks: int) -> None:
    ran.append(items)


@tasks.task("fail", max_attempts=2, backoff=Fixed(60))
def fail() -> None:
    raise KeyError("no such user")


@tasks.task("chain", transactional=True)
def chain(ctx: Context, n: int) -> None:
    ran.append(f"{n} begins")
    if n:
        enqueue(ctx.connection, chain.job(n - 1))
    ran.append(f"{n} ends")


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    ran.clear()


@pytest.fixture(params=KINDS)
def application(request: pytest.FixtureRequest, shared_dsn: str) -> Iterator[Application]:
    with KINDS[request.param](shared_dsn) as application:
        yield application
        application.rollback()


def test_a_job_has_run_when_its_enqueue_returns(application: Application) -> None:
    with inline(tasks) as attempts:
        application.enqueue(note.job(1))
        assert ran == [1]
        application.enqueue_many([note.job(2), note_on_the_loop.job(3)])
        assert ran == [1, 2, ("note-on-the-loop", 3)]
    application.enqueue(note.job(4))

    assert ran == [1, 2, ("note-on-the-loop", 3)]
    assert [attempt.result for attempt in attempts] == [1, 2, 3]


def test_a_batch_and_its_callback_have_run_as_well(connection: Connection) -> None:
    with inline(tasks):
        enqueue_batch(connection, [note.job(1), note.job(2)], on_success=note.job("all"))
        enqueue_chunked(connection, import_items, range(3), chunk_size=2)

    assert ran == [1, 2, "all", [0, 1], [2]]


def test_what_a_job_enqueues_runs_after_it(connection: Connection) -> None:
    with inline(tasks):
        enqueue(connection, chain.job(2))

    assert ran == ["2 begins", "2 ends", "1 begins", "1 ends", "0 begins", "0 ends"]


def test_the_error_of_a_handler_comes_out_of_the_enqueue(connection: Connection) -> None:
    with inline(tasks), pytest.raises(KeyError, match="no such user"):
        enqueue(connection, fail.job())

    with inline(tasks, raise_errors=False) as attempts:
        enqueue(connection, fail.job())
    assert [attempt.outcome for attempt in attempts] == ["retried"]


def test_what_is_not_due_waits(connection: Connection) -> None:
    with inline(tasks):
        enqueue(connection, note.job("later"), delay=60)

    assert ran == []
    assert_enqueued(connection, note, state="scheduled")


def test_an_event_loop_that_runs_does_not_mind(connection: Connection) -> None:
    async def endpoint() -> None:
        enqueue(connection, note_on_the_loop.job(1))

    with inline(tasks):
        asyncio.run(endpoint())

    assert ran == [("note-on-the-loop", 1)]


def test_it_is_over_when_an_error_ends_it(connection: Connection) -> None:
    with pytest.raises(ZeroDivisionError), inline(tasks):
        _ = 1 / 0
    enqueue(connection, note.job(1))

    assert ran == []


def test_a_connection_that_commits_by_itself_is_refused(dsn: str) -> None:
    with (
        psycopg.connect(dsn, autocommit=True) as connection,
        inline(tasks),
        pytest.raises(UnsupportedConnection, match="open a transaction"),
    ):
        enqueue(connection, note.job(1))


def test_a_fake_records_the_arguments_and_answers_for_the_handler(connection: Connection) -> None:
    enqueue_many(connection, [note.job(entry=1), note_on_the_loop.job("two")])

    with fake(note, returns="faked") as notes, fake(note_on_the_loop) as others:
        done = drain(connection, tasks)

    assert (notes, others, ran) == ([{"entry": 1}], [{"entry": "two"}], [])
    assert done.results == ["faked", None]


def test_a_fake_that_raises_fails_the_job(connection: Connection) -> None:
    enqueue(connection, note.job(1))

    with fake(note, raises=ConnectionError("down")), pytest.raises(ConnectionError, match="down"):
        drain(connection, tasks)
    assert_enqueued(connection, note, state="scheduled")


def test_a_task_that_is_called_directly_is_faked_too_and_only_for_so_long() -> None:
    with fake(note) as calls:
        assert note(5) is None
        assert note(entry=6) is None
    assert note(7) == 7

    assert calls == [{"entry": 5}, {"entry": 6}]
    assert ran == [7]
