"""Who may have a job run is asked right before its handler, every time."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

import pgqueue
from pgqueue import Context, InvalidOption, NewJob, Tasks, Unauthorized
from pgqueue.worker import Settings, Worker
from tests.process import Stage

QUICK = Settings(poll=timedelta(milliseconds=50))


def run_until_over(tasks: Tasks, dsn: str, *ids: int) -> None:
    unfinished = "SELECT FROM pgqueue.jobs WHERE id = ANY(%s) AND state <> 'dead'"
    run_while(tasks, dsn, lambda connection: connection.execute(unfinished, [list(ids)]).rowcount)


def run_while(
    tasks: Tasks, dsn: str, condition: Callable[[psycopg.Connection[Any]], object]
) -> None:
    async def work() -> None:
        with psycopg.connect(dsn, autocommit=True) as connection:
            async with asyncio.timeout(60), Worker(tasks, dsn, QUICK):
                while condition(connection):
                    await asyncio.sleep(0.02)

    asyncio.run(work())


def enqueue(dsn: str, *jobs: NewJob) -> list[int]:
    with psycopg.connect(dsn) as connection:
        return [each.id for each in pgqueue.enqueue_many(connection, jobs)]


def fate(dsn: str, job_id: int) -> tuple[Any, ...]:
    """State, reason, how many attempts failed, and the error."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "SELECT state, reason, failures, error FROM pgqueue.all_jobs WHERE id = %s", [job_id]
        ).fetchone()
        assert row
        return row


async def by_coroutine(ctx: Context) -> bool:
    await asyncio.sleep(0)
    return ctx.actor == "ada"


def by_function(ctx: Context) -> bool:
    return ctx.actor == "ada"


@pytest.mark.parametrize("executor", ["async", "thread"])
@pytest.mark.parametrize("authorize", [by_coroutine, by_function])
def test_acceptance_23_an_actor_who_may_not_has_a_dead_job_whose_handler_never_ran(
    dsn: str, executor: str, authorize: Callable[[Context], Any]
) -> None:
    tasks, ran = Tasks(authorize=authorize), []
    if executor == "async":

        @tasks.task("t")
        async def task() -> None:
            ran.append(1)
    else:

        @tasks.task("t")
        def task() -> None:
            ran.append(1)

    allowed, denied, nobody = enqueue(
        dsn, NewJob("t", actor="ada"), NewJob("t", actor="eve"), NewJob("t")
    )
    run_until_over(tasks, dsn, allowed, denied, nobody)
    assert ran == [1]
    assert fate(dsn, allowed)[0] == "succeeded"
    # Dead at once, though it could have been tried five times.
    assert fate(dsn, denied)[:3] == ("dead", "unauthorized", 1)
    assert "actor 'eve' may not" in fate(dsn, denied)[3]
    assert fate(dsn, nobody)[:2] == ("dead", "unauthorized")


def test_the_question_knows_the_arguments_and_may_say_why(dsn: str) -> None:
    tasks = Tasks()

    async def owns(ctx: Context) -> bool:
        assert ctx.arguments is not None
        if ctx.arguments["order"] != 7:
            raise Unauthorized(f"order {ctx.arguments['order']} is another's")
        return True

    @tasks.task("t", authorize=owns)
    async def task(order: int) -> None: ...

    mine, other = enqueue(dsn, task.job(7), task.job(8))
    run_until_over(tasks, dsn, mine, other)
    assert fate(dsn, mine)[0] == "succeeded"
    assert fate(dsn, other) == ("dead", "unauthorized", 1, "order 8 is another's")


def test_a_question_that_cannot_be_answered_is_asked_again(dsn: str) -> None:
    tasks, asked = Tasks(), []

    async def shaky(ctx: Context) -> bool:
        asked.append(ctx.attempt)
        if ctx.attempt == 1:
            raise ConnectionError("the directory is down")
        return True

    @tasks.task("t", authorize=shaky, backoff=pgqueue.Fixed(0))
    async def task() -> None: ...

    (job,) = enqueue(dsn, task.job())
    run_until_over(tasks, dsn, job)
    assert asked == [1, 2]
    assert fate(dsn, job)[:3] == ("succeeded", None, 1)


def test_an_answer_that_is_forgotten_is_no(dsn: str) -> None:
    tasks = Tasks()

    @tasks.task("t", authorize=lambda ctx: None)  # type: ignore[arg-type,return-value]
    async def task() -> None: ...

    (job,) = enqueue(dsn, task.job())
    run_until_over(tasks, dsn, job)
    assert fate(dsn, job)[:2] == ("dead", "unauthorized")


def test_it_is_asked_again_when_the_job_is_redriven(dsn: str) -> None:
    allowed: set[str] = set()
    tasks = Tasks(authorize=lambda ctx: ctx.actor in allowed)

    @tasks.task("t")
    async def task() -> None: ...

    (job,) = enqueue(dsn, task.job().options(actor="eve"))
    run_until_over(tasks, dsn, job)
    for expected in (("dead", "unauthorized"), ("succeeded", None)):
        with psycopg.connect(dsn) as connection:
            assert pgqueue.retry(connection, job, actor="operator") == "available"
        run_until_over(tasks, dsn, job)
        assert fate(dsn, job)[:2] == expected
        allowed.add("eve")


@pytest.mark.parametrize("kind", ["async", "sync"])
def test_it_is_asked_in_the_handlers_own_transaction(dsn: str, kind: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE permits (actor text)")
        connection.execute("CREATE TABLE effects (transaction xid8)")
        connection.execute("INSERT INTO permits VALUES ('ada')")
    # Used up by the question: the transaction that asked must be the one that works.
    question = "DELETE FROM permits WHERE actor = %s RETURNING pg_current_xact_id()"
    effect = "INSERT INTO effects VALUES (pg_current_xact_id())"
    xids: list[Any] = []

    @asynccontextmanager
    async def open_async() -> AsyncIterator[AsyncConnection[Any]]:
        async with await AsyncConnection.connect(dsn) as connection:
            yield connection

    @contextmanager
    def open_sync() -> Iterator[psycopg.Connection[Any]]:
        with psycopg.connect(dsn) as connection:
            yield connection

    tasks = Tasks(transaction=open_async if kind == "async" else open_sync)
    if kind == "async":

        async def may_async(ctx: Context) -> bool:
            cursor = await ctx.connection.execute(question, [ctx.actor])
            xids.extend(await cursor.fetchall())
            return bool(cursor.rowcount)

        @tasks.task("t", transactional=True, authorize=may_async)
        async def task(ctx: Context) -> None:
            await ctx.connection.execute(effect)
    else:

        def may(ctx: Context) -> bool:
            cursor = ctx.connection.execute(question, [ctx.actor])
            xids.extend(cursor.fetchall())
            return bool(cursor.rowcount)

        @tasks.task("t", transactional=True, authorize=may)
        def task(ctx: Context) -> None:
            ctx.connection.execute(effect)

    allowed, denied = enqueue(dsn, *(task.job().options(actor=who) for who in ("ada", "eve")))
    run_until_over(tasks, dsn, allowed, denied)
    assert fate(dsn, allowed)[0] == "succeeded"
    assert fate(dsn, denied)[:2] == ("dead", "unauthorized")
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT transaction FROM effects").fetchall() == xids


def test_a_job_of_nobody_is_refused_where_somebody_is_needed(dsn: str) -> None:
    tasks, ran = Tasks(), []

    @tasks.task("t", actor_required=True)
    async def task() -> None:
        ran.append(1)

    with psycopg.connect(dsn) as connection:
        for attempt in (
            lambda: pgqueue.enqueue(connection, task.job()),
            lambda: pgqueue.enqueue_many(connection, [task.job(), task.job()]),
            lambda: pgqueue.enqueue_batch(connection, [task.job()]),
        ):
            with pytest.raises(InvalidOption, match="actor"):
                attempt()
        pgqueue.enqueue_batch(connection, [task.job()], actor="ada")
    # SQL knows nothing of the code; the worker does.
    (smuggled,) = enqueue(dsn, NewJob("t"))
    (honest,) = enqueue(dsn, task.job().options(actor="ada"))
    run_until_over(tasks, dsn, smuggled, honest)
    assert fate(dsn, smuggled)[:2] == ("dead", "unauthorized")
    assert len(ran) >= 1
    assert fate(dsn, honest)[0] == "succeeded"


def test_a_handler_may_find_out_itself(dsn: str) -> None:
    tasks = Tasks()

    @tasks.task("t")
    def task() -> None:
        raise Unauthorized("not on Sundays")

    (job,) = enqueue(dsn, task.job())
    run_until_over(tasks, dsn, job)
    assert fate(dsn, job) == ("dead", "unauthorized", 1, "not on Sundays")


def test_a_process_child_is_not_even_given_a_job_that_may_not_run(dsn: str, tmp_path: Path) -> None:
    with Stage(dsn, tmp_path) as stage:
        allowed, denied = stage.enqueue(*(NewJob("in-child", actor=who) for who in ("ada", "eve")))
        stage.start(tasks="tests.safe_tasks:tasks", queues={"default": 2})
        stage.until_drained()
        assert stage.state(allowed) == "succeeded"
        assert fate(dsn, denied)[:2] == ("dead", "unauthorized")
        assert [entry.job for entry in stage.journal.entries("start")] == [allowed]


@pytest.mark.parametrize("executor", ["async", "thread"])
def test_what_a_handler_enqueues_runs_for_whom_its_own_job_runs(dsn: str, executor: str) -> None:
    tasks = Tasks()

    @tasks.task("child", actor_required=True)
    def child() -> None: ...

    def bear() -> None:
        with psycopg.connect(dsn) as connection:
            pgqueue.enqueue(connection, child.job())
            pgqueue.enqueue(connection, child.job(), actor="eve")
            pgqueue.enqueue_batch(connection, [child.job()], on_complete=child.job())

    async def parent() -> None:
        bear()

    task = tasks.task("parent")(parent if executor == "async" else bear)
    _, nobodys = enqueue(dsn, task.job().options(actor="ada"), task.job().options(max_attempts=1))
    children = "SELECT actor FROM pgqueue.all_jobs WHERE task = 'child'"
    dead = "SELECT FROM pgqueue.jobs WHERE id = %s AND state = 'dead'"
    run_while(
        tasks,
        dsn,
        lambda connection: (
            connection.execute(children).rowcount < 4
            or not connection.execute(dead, [nobodys]).rowcount
        ),
    )
    with psycopg.connect(dsn) as connection:
        actors = [actor for (actor,) in connection.execute(children)]
    # Of nobody's job there is none: a child must be somebody's.
    assert sorted(actors) == ["ada", "ada", "ada", "eve"]
    assert "say actor=" in fate(dsn, nobodys)[3]


def test_a_process_childs_jobs_are_those_of_its_actor(dsn: str, tmp_path: Path) -> None:
    with Stage(dsn, tmp_path) as stage:
        stage.enqueue(NewJob("bear-in-child", actor="ada"))
        stage.start(tasks="tests.safe_tasks:tasks", queues={"default": 2})
        stage.until(lambda: stage.sql("SELECT id FROM pgqueue.all_jobs WHERE task = 'born'"))
        assert stage.value("SELECT actor FROM pgqueue.all_jobs WHERE task = 'born'") == "ada"
