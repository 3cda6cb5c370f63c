"""Batches: seen as one, closed exactly once, cancelled and redriven as one.

What would break it: two last jobs that finish at once, two closers at once, a closer that dies, a
finish that rolls back, a redrive after the end, a job that leaves no row in history."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Json
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

import pgqueue
from pgqueue import (
    Batch,
    BatchNotFound,
    IdempotencyConflict,
    InvalidOption,
    Keep,
    NewJob,
    Tasks,
    UnsupportedConnection,
)
from pgqueue.job import Job, Reason
from pgqueue.outcome import Cancelled, Died, Failure, Outcome, Succeeded
from pgqueue.storage import batches, jobs, upkeep
from pgqueue.storage.drivers import run
from pgqueue.storage.finishing import finish
from tests.connections import KINDS, Application, Kind
from tests.postgres import url_of
from tests.rows import WORKER, add, claim, claim_one, job_row, lapse

Connection = psycopg.Connection[Any]

WORK = NewJob("work")
CALLBACKS = {
    "on_success": NewJob("told-success"),
    "on_complete": NewJob("told-complete"),
    "on_failure": NewJob("told-failure"),
}


def succeeded(job: Job) -> Outcome:
    return Succeeded(job, 0.0, 0.0, None)


def died(job: Job) -> Outcome:
    return Died(job, 0.0, 0.0, Failure("E", "e", None, "e"), Reason.NON_RETRYABLE)


def cancelled(job: Job) -> Outcome:
    return Cancelled(job, 0.0, 0.0, "told to")


def end(connection: Connection, *outcomes: Outcome) -> None:
    """Write outcomes, in one transaction or in the one that is open."""
    accepted = run(connection, finish(outcomes, worker_id=WORKER, moment=0.0))
    assert accepted == {outcome.job.id for outcome in outcomes}


def close(connection: Connection) -> list[tuple[int, bool | None]]:
    """Do what the chore of a worker does."""
    closed = run(connection, batches.close_batches(after_id=0, limit=100))
    assert [each.problem for each in closed if each.problem] == []
    return [(each.batch_id, each.is_over) for each in closed]


def told(connection: Connection) -> list[str]:
    """The callbacks that were enqueued, in order."""
    rows = connection.execute("SELECT task FROM pgqueue.jobs WHERE task LIKE 'told-%' ORDER BY id")
    return [row[0].removeprefix("told-") for row in rows]


def make(connection: Connection, count: int, **options: Any) -> Batch:
    return pgqueue.enqueue_batch(connection, [WORK] * count, **{**CALLBACKS, **options})


@contextmanager
def connections(dsn: str, count: int) -> Iterator[list[Connection]]:
    """Connections that commit when told to."""
    opened = [psycopg.connect(dsn) for _ in range(count)]
    try:
        yield opened
    finally:
        for connection in opened:
            connection.close()


# Enqueue


@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_a_batch_is_part_of_the_callers_transaction_on_every_kind_of_connection(
    kind: Kind, dsn: str
) -> None:
    def enqueue(application: Application) -> Batch:
        is_async = application._runner is not None
        function: Any = pgqueue.enqueue_batch_async if is_async else pgqueue.enqueue_batch
        batch = application.do(
            function(application.connection, [WORK, WORK], name="two", actor="ann", **CALLBACKS)
        )
        assert isinstance(batch, Batch)
        return batch

    with kind(dsn) as application, psycopg.connect(dsn, autocommit=True) as outside:
        enqueue(application)
        application.rollback()
        for table in ("batches", "jobs"):
            assert outside.execute(f"SELECT count(*) FROM pgqueue.{table}").fetchone() == (0,)  # noqa: S608

        batch = enqueue(application)
        application.commit()

        assert batch[1:] == ("two", 2, 0)
        rows = outside.execute("SELECT batch_id, actor FROM pgqueue.jobs").fetchall()
        assert rows == [(batch.id, "ann")] * 2
        status = pgqueue.batch_status(outside, batch.id)
        assert (status.name, status.actor, status.pending, status.progress) == ("two", "ann", 2, 0)


@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_a_connection_that_commits_each_statement_is_refused(kind: Kind, dsn: str) -> None:
    with kind(dsn, autocommit=True) as application:
        is_async = application._runner is not None
        function: Any = pgqueue.enqueue_batch_async if is_async else pgqueue.enqueue_batch
        with pytest.raises(UnsupportedConnection, match="open a transaction first"):
            application.do(function(application.connection, [WORK]))
        assert application.execute("SELECT count(*) FROM pgqueue.jobs") == [(0,)]


def test_a_transaction_block_on_an_autocommit_connection_will_do(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection, connection.transaction():
        assert pgqueue.enqueue_batch(connection, [WORK]).total == 1


def test_an_earlier_job_of_the_same_key_does_not_join_the_batch(connection: Connection) -> None:
    earlier = add(connection, key="a")
    keyed = [WORK.options(key=key) for key in ("a", "b", "b")]

    batch = pgqueue.enqueue_batch(connection, keyed)

    assert (batch.total, batch.duplicates) == (1, 2)
    assert job_row(connection, earlier).batch_id is None
    end(connection, *map(succeeded, claim(connection)))
    assert close(connection) == [(batch.id, True)]


def test_a_key_of_other_arguments_is_refused_where_asked_for(connection: Connection) -> None:
    add(connection, key="a", args='{"n": 1}')
    with pytest.raises(IdempotencyConflict):
        pgqueue.enqueue_batch(connection, [WORK.options(key="a")], on_conflict="raise")


def test_a_batch_without_jobs_is_complete_at_once(connection: Connection) -> None:
    batch = make(connection, 0)

    status = pgqueue.batch_status(connection, batch.id)
    assert (status.total, status.is_complete, status.progress) == (0, True, 1)
    assert status.completed_at is not None
    assert sorted(told(connection)) == ["complete", "success"]
    assert close(connection) == []


def test_jobs_that_are_all_there_already_make_a_batch_that_is_complete(
    connection: Connection,
) -> None:
    keyed = WORK.options(key="a")
    pgqueue.enqueue(connection, keyed)
    assert pgqueue.enqueue_batch(connection, [keyed], **CALLBACKS)[2:] == (0, 1)
    assert sorted(told(connection)) == ["complete", "success"]


def test_a_lazy_iterable_is_read_a_slice_at_a_time(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "SLICE", 10)
    seen: list[int] = []

    def lazy() -> Iterator[NewJob]:
        for _ in range(25):
            row = connection.execute("SELECT count(*) FROM pgqueue.jobs").fetchone()
            assert row
            seen.append(row[0])
            yield WORK

    assert pgqueue.enqueue_batch(connection, lazy()).total == 25
    assert sorted(set(seen)) == [0, 10, 20]


def test_a_slice_is_bounded_in_bytes_as_well(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "SLICE_BYTES", 100)
    slices = list(batches._slices([NewJob("work", '{"n": "' + "x" * 60 + '"}')] * 5, None))
    assert [len(some) for some in slices] == [2, 2, 1]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"on_success": "notify"}, "on_success: must be a job, such as task.job"),
        ({"on_complete": Tasks}, "on_complete: must be a job"),
        ({"name": ""}, "name: must be text of 1 to 200"),
        ({"actor": 7}, "actor: must be text"),
        ({"on_failure": NewJob("told", priority=-1)}, "priority"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_written(
    connection: Connection, options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(InvalidOption, match=problem):
        pgqueue.enqueue_batch(connection, [], **options)


UNENQUEUEABLE = [NewJob("t", "no json"), NewJob("x" * 201), NewJob("")]


@pytest.mark.parametrize("callback", UNENQUEUEABLE)
def test_a_callback_that_could_never_be_enqueued_is_refused(
    connection: Connection, callback: NewJob
) -> None:
    with pytest.raises(InvalidOption, match="must be"):
        pgqueue.enqueue_batch(connection, [WORK], on_complete=callback)


@pytest.mark.parametrize("callback", UNENQUEUEABLE)
def test_a_callback_that_could_never_be_enqueued_is_refused_by_the_database(
    connection: Connection, callback: NewJob
) -> None:
    with pytest.raises((psycopg.errors.CheckViolation, psycopg.DataError)):
        connection.execute(
            "INSERT INTO pgqueue.batches (created_at, total, on_complete) VALUES (now(), 0, %s)",
            [Json({"task": callback.task, "args": callback.args})],
        )


# Callbacks


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([succeeded, succeeded], ["complete", "success"]),
        ([succeeded, died], ["complete", "failure"]),
        ([cancelled, succeeded], ["complete", "failure"]),
        ([cancelled, cancelled], ["complete", "failure"]),
    ],
)
@pytest.mark.parametrize("keep", [None, 0])
def test_callbacks_say_how_it_ended_once_nothing_is_left_to_run(
    connection: Connection, outcomes: list[Any], expected: list[str], keep: int | None
) -> None:
    batch = pgqueue.enqueue_batch(connection, [WORK.options(keep=keep)] * 2, **CALLBACKS)
    first, second = claim(connection)

    end(connection, outcomes[0](first))
    assert close(connection) == [(batch.id, False)]
    assert told(connection) == []
    end(connection, outcomes[1](second))
    assert close(connection) == [(batch.id, True)]

    assert sorted(told(connection)) == expected
    assert close(connection) == []
    status = pgqueue.batch_status(connection, batch.id)
    assert status.is_complete
    assert status.completed_at
    ids = (status.success_job_id, status.complete_job_id, status.failure_job_id)
    assert [job_id is not None for job_id in ids] == [
        "success" in expected,
        True,
        "failure" in expected,
    ]


def test_a_callback_keeps_its_options_and_knows_the_batch(connection: Connection) -> None:
    tasks = Tasks()

    @tasks.task("told-complete", queue="mail", max_attempts=7, keep=Keep(3600, 60, 86400))
    def tell(text: str) -> None: ...

    callback = tell.job(text='ä "\\u0000" 1e22').options(
        priority=3, delay=60, timeout=None, metadata={"a": [1]}, key="once", expires=7200
    )
    batch = pgqueue.enqueue_batch(connection, [], on_complete=callback, actor="ann")

    status = pgqueue.batch_status(connection, batch.id)
    row = job_row(connection, status.complete_job_id or 0)
    assert (row.state, row.queue, row.priority, row.max_attempts) == ("scheduled", "mail", 3, 7)
    assert (row.timeout, row.key, row.actor) == (None, "once", "ann")
    assert (row.keep, row.keep_cancelled, row.keep_dead) == (
        timedelta(hours=1),
        timedelta(minutes=1),
        timedelta(days=1),
    )
    assert row.expires_at - row.created_at == timedelta(hours=2)
    stored = connection.execute(
        "SELECT args::text FROM pgqueue.jobs WHERE id = %s", [row.id]
    ).fetchone()
    assert stored == (callback.args,)
    assert row.metadata == {"a": [1], "pgqueue.batch_id": batch.id}
    assert row.batch_id is None, "the callback is no part of the batch"


def test_a_handler_knows_its_batch_be_it_a_part_or_a_callback(connection: Connection) -> None:
    batch = pgqueue.enqueue_batch(connection, [WORK], on_complete=NewJob("greet"))
    part = claim_one(connection)
    assert pgqueue.Context(part).batch_id == batch.id
    end(connection, succeeded(part))
    close(connection)
    assert pgqueue.Context(claim_one(connection)).batch_id == batch.id
    add(connection, metadata={"batch_id": "the user's own"})
    assert pgqueue.Context(claim_one(connection)).batch_id is None


def test_a_redrive_after_the_end_leads_to_success_and_to_nothing_twice(
    connection: Connection,
) -> None:
    batch = make(connection, 2)
    end(connection, *map(died, claim(connection)))
    close(connection)
    assert sorted(told(connection)) == ["complete", "failure"]

    assert pgqueue.retry_batch(connection, batch.id, actor="ann") == (2, 0)
    status = pgqueue.batch_status(connection, batch.id)
    assert (status.failed, status.pending, status.is_complete) == (0, 2, False)
    first, second = claim(connection)
    end(connection, succeeded(first), died(second))
    assert close(connection) == [(batch.id, True)]
    assert sorted(told(connection)) == ["complete", "failure"]

    pgqueue.retry_batch(connection, batch.id)
    close(connection)
    assert pgqueue.batch_status(connection, batch.id).completed_at is None, "it is open again"
    end(connection, succeeded(claim_one(connection)))
    close(connection)
    assert sorted(told(connection)) == ["complete", "failure", "success"]
    assert pgqueue.batch_status(connection, batch.id)[5:9] == (2, 2, 0, 0)


def test_a_redrive_before_the_closer_looked_is_as_if_nothing_had_died(
    connection: Connection,
) -> None:
    batch = make(connection, 1)
    end(connection, died(claim_one(connection)))
    pgqueue.retry_batch(connection, batch.id)
    assert close(connection) == [(batch.id, False)]
    end(connection, succeeded(claim_one(connection)))
    close(connection)
    assert sorted(told(connection)) == ["complete", "success"]


def test_every_way_to_die_counts_and_a_discard_changes_nothing(connection: Connection) -> None:
    late = WORK.options(expires=3600)
    batch = pgqueue.enqueue_batch(
        connection, [WORK, WORK.options(max_crashes=1), late], **CALLBACKS
    )
    connection.execute("UPDATE pgqueue.jobs SET expires_at = now() WHERE expires_at IS NOT NULL")
    run(connection, jobs.expire(limit=10))
    first, second = claim(connection)
    end(connection, died(first))
    lapse(connection)
    run(connection, jobs.rescue(limit=10))
    assert job_row(connection, second.id).state == "dead"

    assert pgqueue.batch_status(connection, batch.id).failed == 3
    assert pgqueue.discard(connection, first.id, reason="seen") == "discarded"
    assert pgqueue.batch_status(connection, batch.id).failed == 3
    close(connection)
    assert sorted(told(connection)) == ["complete", "failure"]


def test_a_retry_of_an_attempt_is_no_end(connection: Connection) -> None:
    batch = make(connection, 1)
    claim_one(connection)
    lapse(connection)
    run(connection, jobs.rescue(limit=10))
    assert close(connection) == []
    assert pgqueue.batch_status(connection, batch.id).pending == 1


# Closers that race, and closers that die


def test_two_last_jobs_that_finish_at_once_are_followed_by_one_callback(dsn: str) -> None:
    with connections(dsn, 3) as (one, other, closer):
        batch = make(one, 2)
        one.commit()
        first, second = claim(one)
        one.commit()

        end(one, succeeded(first))
        end(other, succeeded(second))  # neither sees the other
        assert close(closer) == []
        closer.commit()
        one.commit()
        assert close(closer) == [(batch.id, False)]
        closer.commit()
        other.commit()
        assert close(closer) == [(batch.id, True)]
        closer.commit()
        assert sorted(told(closer)) == ["complete", "success"]


def test_of_two_closers_at_once_one_closes_and_the_other_does_not_wait(dsn: str) -> None:
    with connections(dsn, 2) as (one, other):
        batch = make(one, 1)
        end(one, succeeded(claim_one(one)))
        one.commit()

        assert close(one) == [(batch.id, True)]
        other.execute("SET statement_timeout = '5s'")
        assert close(other) == [(batch.id, None)]
        one.commit()
        assert close(other) == []
        assert sorted(told(other)) == ["complete", "success"]


def test_many_closers_beside_many_finishes_enqueue_each_callback_once(dsn: str) -> None:
    """Jobs of 20 batches end in parallel, in transactions of their own, while four closers race."""

    async def finish_all(claimed: list[Job]) -> None:
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
            for job in claimed:
                outcome = died(job) if job.id % 7 == 0 else succeeded(job)
                await pgqueue.storage.drivers.run_async(
                    connection, finish([outcome], worker_id=WORKER, moment=0.0)
                )

    async def close_all(stop: asyncio.Event) -> None:
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
            while not stop.is_set():
                closed = await pgqueue.storage.drivers.run_async(
                    connection, batches.close_batches(after_id=0, limit=100)
                )
                assert [each.problem for each in closed if each.problem] == []

    async def race(claimed: list[Job]) -> None:
        stop = asyncio.Event()
        closers = [asyncio.create_task(close_all(stop)) for _ in range(4)]
        await asyncio.gather(*(finish_all(claimed[n::4]) for n in range(4)))
        stop.set()
        await asyncio.gather(*closers)

    with psycopg.connect(dsn, autocommit=True) as connection:
        with connection.transaction():
            made = [make(connection, 10) for _ in range(20)]
        asyncio.run(race(claim(connection)))
        close(connection)

        for batch in made:
            status = pgqueue.batch_status(connection, batch.id)
            assert status.completed_at, status
            assert status.succeeded + status.failed == 10
            end_of_it = status.failure_job_id if status.failed else status.success_job_id
            assert end_of_it
        assert len(told(connection)) == 40


def test_a_closer_killed_before_its_commit_has_told_nobody(dsn: str) -> None:
    with connections(dsn, 1) as (connection,):
        batch = make(connection, 1)
        end(connection, succeeded(claim_one(connection)))
        connection.commit()
        killed = psycopg.connect(dsn)
        assert close(killed) == [(batch.id, True)]
        connection.execute("SELECT pg_terminate_backend(%s, 10000)", (killed.info.backend_pid,))
        killed.close()
        assert told(connection) == []

        assert close(connection) == [(batch.id, True)]
        assert sorted(told(connection)) == ["complete", "success"]


def test_a_finish_that_rolls_back_has_not_counted(dsn: str) -> None:
    with connections(dsn, 2) as (connection, closer):
        batch = make(connection, 1)
        job = claim_one(connection)
        connection.commit()
        end(connection, succeeded(job))
        connection.rollback()
        assert close(closer) == []
        closer.commit()
        end(connection, succeeded(job))
        connection.commit()
        assert close(closer) == [(batch.id, True)]
        assert pgqueue.batch_status(closer, batch.id).succeeded == 1


def test_a_batch_that_cannot_be_closed_holds_up_no_other(dsn: str) -> None:
    """The key of its callback is held by a transaction that does not end."""
    with connections(dsn, 2) as (holder, connection):
        first = pgqueue.enqueue_batch(
            connection, [WORK], on_complete=NewJob("told-first", key="held")
        )
        second = pgqueue.enqueue_batch(connection, [WORK], on_complete=NewJob("told-second"))
        end(connection, *map(succeeded, claim(connection)))
        connection.commit()
        pgqueue.enqueue(holder, NewJob("told-first", key="held"))
        connection.execute("SET lock_timeout = '200ms'")

        one, other = run(connection, batches.close_batches(after_id=0, limit=100))
        assert (one.batch_id, one.is_over) == (first.id, None)
        assert "lock timeout" in str(one.problem)
        assert (other.batch_id, other.is_over, other.problem) == (second.id, True, None)
        connection.commit()
        holder.rollback()

        assert close(connection) == [(first.id, True)]
        assert sorted(told(connection)) == ["first", "second"]


def test_closing_goes_on_where_the_last_look_ended(connection: Connection) -> None:
    made = [make(connection, 1) for _ in range(5)]
    end(connection, *map(succeeded, claim(connection)))
    found: list[int] = []
    after_id = 0
    while closed := run(connection, batches.close_batches(after_id=after_id, limit=2)):
        assert len(closed) <= 2
        found += [each.batch_id for each in closed]
        after_id = closed[-1].batch_id
    assert found == [batch.id for batch in made]


def test_who_waits_is_woken_by_the_close_as_well(dsn: str) -> None:
    with connections(dsn, 2) as (waiter, connection):
        batch = make(connection, 1)
        end(connection, succeeded(claim_one(connection)))
        connection.commit()
        waiter.autocommit = True
        waiter.execute("LISTEN pgqueue_done")
        waiter.execute("SELECT pg_advisory_lock_shared(1885827379, 0)")
        assert close(connection) == [(batch.id, True)]
        connection.commit()
        (woken,) = waiter.notifies(timeout=20, stop_after=1)
        assert woken.channel == "pgqueue_done"


# Seen as one


def test_counts_include_what_no_closer_has_folded_yet(connection: Connection) -> None:
    batch = make(connection, 4)
    first, second, third, _ = claim(connection)
    for outcome, expected in (
        (succeeded(first), (1, 0, 0)),
        (died(second), (1, 1, 0)),
        (cancelled(third), (1, 1, 1)),
    ):
        end(connection, outcome)
        status = pgqueue.batch_status(connection, batch.id)
        assert status[6:9] == expected
        (listed,) = run(connection, batches.list_batches(limit=1))
        assert listed._replace(now=status.now) == status
    assert (status.pending, status.done, status.progress) == (1, 3, 0.75)
    close(connection)
    assert pgqueue.batch_status(connection, batch.id)[6:9] == (1, 1, 1)


def test_the_jobs_of_a_batch_are_listed_wherever_they_are(connection: Connection) -> None:
    add(connection)
    batch = make(connection, 5)
    add(connection)
    parts = [job for job in claim(connection) if job.batch_id == batch.id]
    end(connection, succeeded(parts[0]), died(parts[1]), cancelled(parts[2]))

    ids = [part.id for part in parts]
    page = pgqueue.batch_jobs(connection, batch.id, limit=3)
    rest = pgqueue.batch_jobs(connection, batch.id, limit=3, before=page.next)
    assert [job.id for job in page.jobs + rest.jobs] == ids[::-1]
    assert rest.next is None
    for state, expected in (("dead", [ids[1]]), ("succeeded", [ids[0]]), ("running", ids[:2:-1])):
        page = pgqueue.batch_jobs(connection, batch.id, state=state)
        assert [job.id for job in page.jobs] == expected
    dead = pgqueue.batch_jobs(connection, batch.id, state="dead", limit=1)
    assert pgqueue.batch_jobs(connection, batch.id, state="dead", before=dead.next).jobs == []


def test_open_batches_are_listed_apart(connection: Connection) -> None:
    over, under_way = make(connection, 0), make(connection, 1)
    listed = run(connection, batches.list_batches())
    assert [batch.id for batch in listed] == [under_way.id, over.id]
    open_ones = run(connection, batches.list_batches(is_open=True))
    assert [batch.id for batch in open_ones] == [under_way.id]
    assert run(connection, batches.list_batches(before=under_way.id, limit=1))[0].id == over.id


def test_a_batch_that_is_none_is_said_to_be_none(connection: Connection) -> None:
    for function in (pgqueue.batch_status, pgqueue.cancel_batch, pgqueue.retry_batch):
        with pytest.raises(BatchNotFound, match="no batch 4711"):
            function(connection, 4711)


# Steered as one


def test_a_batch_is_cancelled_as_one_and_each_job_of_it_is_audited(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "VERB_SLICE", 2)
    other = add(connection, priority=32767)
    batch = pgqueue.enqueue_batch(
        connection, [WORK] * 4 + [WORK.options(delay=60)] * 3, **CALLBACKS
    )
    running, dead = claim(connection, limit=2)
    end(connection, died(dead))

    assert pgqueue.cancel_batch(connection, batch.id, actor="ann", reason="wrong") == (5, 1, 0)

    assert job_row(connection, running.id).cancel_requested_at is not None
    assert job_row(connection, other).state == "available"
    status = pgqueue.batch_status(connection, batch.id)
    assert status[5:9] == (7, 0, 1, 5)
    audit = connection.execute("SELECT DISTINCT verb, actor, reason FROM pgqueue.audit").fetchall()
    assert ("cancel", "ann", "wrong") in audit
    end(connection, cancelled(running))
    close(connection)
    assert sorted(told(connection)) == ["complete", "failure"]


def test_a_job_whose_row_is_locked_is_reported_and_not_waited_for(dsn: str) -> None:
    with connections(dsn, 2) as (connection, locker):
        batch = make(connection, 3)
        connection.commit()
        locker.execute("SELECT id FROM pgqueue.jobs ORDER BY id LIMIT 1 FOR NO KEY UPDATE")
        connection.execute("SET statement_timeout = '5s'")
        assert pgqueue.cancel_batch(connection, batch.id) == (2, 0, 1)
        locker.rollback()
        assert pgqueue.cancel_batch(connection, batch.id) == (1, 0, 0)


def test_only_the_dead_of_a_batch_are_run_again(connection: Connection) -> None:
    batch = make(connection, 4)
    delayed = pgqueue.enqueue(connection, WORK.options(delay=60))
    first, second, third, _ = claim(connection)
    end(connection, died(first), died(second), succeeded(third))

    assert pgqueue.retry_batch(connection, batch.id) == (2, 0)

    assert job_row(connection, delayed.id).state == "scheduled"
    assert {job_row(connection, job.id).state for job in (first, second)} == {"available"}
    assert pgqueue.batch_status(connection, batch.id).pending == 3


def test_the_verbs_work_on_sessions_and_in_sql(dsn: str) -> None:
    engine = create_engine(url_of(dsn), poolclass=NullPool)
    with Session(engine) as session:
        batch = pgqueue.enqueue_batch(session, [WORK] * 3)
        session.commit()
        assert pgqueue.cancel_batch(session, batch.id).cancelled == 3
        session.rollback()
        row = session.execute(
            text("SELECT * FROM pgqueue.cancel_batch(:id, actor => 'ann')"), {"id": batch.id}
        )
        assert tuple(row.one()) == (3, 0, 0, None)
        session.commit()
        assert pgqueue.batch_status(session, batch.id).cancelled == 3


def test_the_asynchronous_twins_do_the_same(dsn: str) -> None:
    async def act() -> None:
        async with await psycopg.AsyncConnection.connect(dsn) as connection:
            batch = await pgqueue.enqueue_batch_async(connection, [WORK] * 2)
            page = await pgqueue.batch_jobs_async(connection, batch.id)
            assert len(page.jobs) == 2
            assert await pgqueue.retry_batch_async(connection, batch.id) == (0, 0)
            assert await pgqueue.cancel_batch_async(connection, batch.id) == (2, 0, 0)
            assert (await pgqueue.batch_status_async(connection, batch.id)).is_complete

    asyncio.run(act())


# Forgotten


def test_a_batch_is_forgotten_30_days_after_its_end_unless_it_has_dead_jobs(
    connection: Connection,
) -> None:
    with_dead, over, recent, under_way = (make(connection, n) for n in (1, 0, 0, 1))
    (part, _) = claim(connection)
    end(connection, died(part))
    close(connection)
    connection.execute(
        "UPDATE pgqueue.batches SET completed_at = now() - interval '31 days' WHERE id <> %s",
        (recent.id,),
    )

    assert run(connection, upkeep.prune(limit=100)) == 1

    left = {batch.id for batch in run(connection, batches.list_batches())}
    assert left == {with_dead.id, recent.id, under_way.id}
    assert over.id not in left
    pgqueue.discard(connection, part.id, reason="seen")
    assert run(connection, upkeep.prune(limit=100)) == 1


def test_what_is_told_of_a_batch_that_was_forgotten_is_dropped(connection: Connection) -> None:
    connection.execute("INSERT INTO pgqueue.batch_outcomes (batch_id, failed) VALUES (4711, -1)")
    assert close(connection) == [(4711, None)]
    assert close(connection) == []
