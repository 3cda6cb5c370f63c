"""What a handler, the middleware around it and the hooks after it can do, through a real worker."""

import asyncio
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

import pgqueue
from pgqueue import Cancel, Context, Fail, JobEvent, NewJob, Retry, Snooze, Tasks
from pgqueue.worker import Worker

KINDS = ["async", "thread"]


def register(
    tasks: Tasks, kind: str, name: str, body: Callable[[Context], Any], **options: Any
) -> None:
    """Register *body* as a task that runs on the loop, or in a thread."""
    if kind == "thread":

        @tasks.task(name, **options)
        def in_thread(ctx: Context) -> Any:
            return body(ctx)

    else:

        @tasks.task(name, **options)
        async def on_loop(ctx: Context) -> Any:
            return body(ctx)


def play(tasks: Tasks, dsn: str, *jobs: NewJob, until: Callable[[Any], bool]) -> Any:
    """Run *jobs* until the first one's row is as *until* wants it; return that row."""
    with psycopg.connect(dsn, autocommit=True, row_factory=psycopg.rows.namedtuple_row) as db:
        ids = [pgqueue.enqueue(db, job).id for job in jobs]

        def row() -> Any:
            return db.execute(
                "SELECT *, run_at - now() AS due_in FROM pgqueue.all_jobs WHERE id = %s", [ids[0]]
            ).fetchone()

        async def work() -> None:
            async with Worker(tasks, dsn), asyncio.timeout(20):
                while not until(row()):
                    await asyncio.sleep(0.01)

        asyncio.run(work())
        return row()


def is_over(row: Any) -> bool:
    return row.state in ("succeeded", "dead", "cancelled")


# What a handler raises on purpose


def outcomes(dsn: str) -> list[str]:
    with psycopg.connect(dsn) as connection:
        found = connection.execute("SELECT outcome FROM pgqueue.attempts ORDER BY attempt")
        return [row[0] for row in found]


def raising(error: Exception) -> Callable[[Context], Any]:
    def body(ctx: Context) -> str:
        if ctx.attempt == 1:
            raise error
        return "done"

    return body


@pytest.mark.parametrize("kind", KINDS)
def test_retry_is_charged_and_waits_as_long_as_it_says(dsn: str, kind: str) -> None:
    tasks = Tasks()
    register(tasks, kind, "job", raising(Retry(after=3600, reason="not yet")), max_attempts=3)

    row = play(tasks, dsn, tasks["job"].job(), until=lambda row: row.state == "scheduled")

    assert row.failures == 1
    assert 3500 < row.due_in.total_seconds() <= 3600
    assert outcomes(dsn) == ["failed"]


@pytest.mark.parametrize("kind", KINDS)
def test_retry_dies_with_the_last_attempt(dsn: str, kind: str) -> None:
    tasks = Tasks()
    register(tasks, kind, "job", raising(Retry(reason="not yet")), max_attempts=1)

    row = play(tasks, dsn, tasks["job"].job(), until=is_over)

    assert (row.state, row.reason, row.error) == ("dead", "attempts_exhausted", "not yet")


@pytest.mark.parametrize("kind", KINDS)
def test_snooze_is_charged_nothing(dsn: str, kind: str) -> None:
    tasks = Tasks()
    register(tasks, kind, "job", raising(Snooze(0.05)), max_attempts=1)

    row = play(tasks, dsn, tasks["job"].job(), until=is_over)

    assert (row.state, row.result, row.failures, row.attempt) == ("succeeded", "done", 0, 2)
    assert outcomes(dsn) == ["snoozed"]


@pytest.mark.parametrize("kind", KINDS)
def test_fail_is_dead_at_once(dsn: str, kind: str) -> None:
    tasks = Tasks()
    register(tasks, kind, "job", raising(Fail("the card is stolen")), max_attempts=5)

    row = play(tasks, dsn, tasks["job"].job(), until=is_over)

    assert (row.state, row.reason) == ("dead", "non_retryable")
    assert row.error == "the card is stolen"
    assert outcomes(dsn) == ["failed"]


@pytest.mark.parametrize("kind", KINDS)
def test_cancel_ends_the_job_as_cancelled(dsn: str, kind: str) -> None:
    tasks = Tasks()
    register(tasks, kind, "job", raising(Cancel("the order was withdrawn")))

    row = play(tasks, dsn, tasks["job"].job(), until=is_over)

    assert (row.state, row.error) == ("cancelled", "the order was withdrawn")
    assert outcomes(dsn) == []


# Middleware


@pytest.mark.parametrize("kind", KINDS)
def test_middleware_stands_around_every_job_the_first_outermost(dsn: str, kind: str) -> None:
    tasks = Tasks()
    seen: list[str] = []

    @tasks.middleware
    async def outer(ctx: Context, call_next: Any) -> Any:
        seen.append(f"outer before {ctx.task}")
        value = await call_next()
        seen.append("outer after")
        return f"<{value}>"

    @tasks.middleware
    async def inner(ctx: Context, call_next: Any) -> Any:
        seen.append("inner before")
        try:
            return await call_next()
        finally:
            seen.append("inner after")

    def body(ctx: Context) -> str:
        seen.append("job")
        return "value"

    register(tasks, kind, "job", body)

    row = play(tasks, dsn, tasks["job"].job(), until=is_over)

    assert row.result == "<value>"
    assert seen == ["outer before job", "inner before", "job", "inner after", "outer after"]


@pytest.mark.parametrize("kind", KINDS)
def test_middleware_sees_what_the_handler_raised_and_may_raise_something_else(
    dsn: str, kind: str
) -> None:
    tasks = Tasks()

    @tasks.middleware
    async def translate(ctx: Context, call_next: Any) -> Any:
        try:
            return await call_next()
        except KeyError as error:
            raise Fail(f"no {error}") from error

    def body(ctx: Context) -> None:
        raise KeyError("address")

    register(tasks, kind, "job", body)

    row = play(tasks, dsn, tasks["job"].job(), until=is_over)

    assert (row.state, row.reason, row.error) == ("dead", "non_retryable", "no 'address'")


def test_middleware_that_raises_fails_the_job_that_it_kept_from_running(dsn: str) -> None:
    tasks = Tasks()
    ran: list[int] = []

    @tasks.middleware
    async def refuse(ctx: Context, call_next: Any) -> Any:
        raise PermissionError("nobody is logged in")

    register(tasks, "async", "job", lambda ctx: ran.append(1), max_attempts=1)

    row = play(tasks, dsn, tasks["job"].job(), until=is_over)

    assert (row.state, row.error, ran) == ("dead", "nobody is logged in", [])


# Hooks


def test_a_hook_that_raises_is_logged_and_changes_nothing(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    tasks = Tasks()
    heard: list[JobEvent] = []
    register(tasks, "async", "job", lambda ctx: "done")
    register(tasks, "async", "fails", raising(Fail("for good")))

    @tasks.on_succeeded
    def break_in_thread(event: JobEvent) -> None:
        raise ValueError("the pager is off")

    @tasks.on_dead
    async def break_on_loop(event: JobEvent) -> None:
        raise ValueError("the pager is off")

    tasks.on_succeeded(heard.append)
    tasks.on_dead(heard.append)

    row = play(
        tasks,
        dsn,
        tasks["job"].job(),
        tasks["fails"].job(),
        until=lambda row: len(heard) == 2 and caplog.text.count("the pager is off") >= 2,
    )

    assert row.state == "succeeded"
    assert caplog.text.count("hook ") == 2
    assert {event.job_name for event in heard} == {"job", "fails"}
