"""What running jobs say of themselves reaches the database: fenced, seldom, in time, bounded."""

import asyncio
import logging
import math
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection, IsolationLevel

from pgqueue import (
    Context,
    Fixed,
    InvalidOption,
    InvalidPayload,
    LeaseLost,
    NewJob,
    Tasks,
)
from pgqueue.context import Scribe
from pgqueue.job import Job
from pgqueue.joblog import JobLog
from pgqueue.notes import LINE_LIMIT, Checkpoint, Line, Note, Report, Said
from pgqueue.storage import noting
from pgqueue.storage.drivers import run
from pgqueue.worker import Settings, Worker
from tests.rows import OTHER_WORKER, WORKER, add, claim, claim_one, lapse
from tests.test_worker import enqueue, rows, take_away, until, until_state

Connection = psycopg.Connection[Any]

WATCH = """
CREATE TABLE versions (done float8, total float8, at timestamptz);
CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO versions VALUES (NEW.done, NEW.total, clock_timestamp());
    RETURN NEW;
END $$;
CREATE TRIGGER watch AFTER INSERT OR UPDATE ON pgqueue.progress
FOR EACH ROW EXECUTE FUNCTION watch()
"""

DISCONNECT = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND application_name LIKE %s
"""


def said(
    job: Job,
    report: Report | None = None,
    checkpoint: str | None = None,
    lines: Sequence[Line] = (),
    first: int = 1,
) -> Said:
    return Said(job, report, checkpoint, first, tuple(lines))


def write(connection: Connection, *what: Said, worker_id: str = WORKER) -> None:
    run(connection, noting.write(what, worker_id=worker_id, moment=0.0))


def progress_of(connection: Connection, job_id: int) -> tuple[Any, ...] | None:
    return connection.execute(
        "SELECT attempt, done, total, detail::text, checkpoint::text FROM pgqueue.progress"
        " WHERE job_id = %s",
        [job_id],
    ).fetchone()


def kept_lines(connection: Connection, job_id: int) -> list[tuple[Any, ...]]:
    return connection.execute(
        "SELECT attempt, n, level, message, fields::text FROM pgqueue.job_logs"
        " WHERE job_id = %s ORDER BY attempt, n",
        [job_id],
    ).fetchall()


def assert_paced(versions: list[tuple[float, float, datetime]]) -> None:
    """From 0 to 100 %, the first, 0 % and 100 % at once, in between once a second at most."""
    values = [done for done, _, _ in versions]
    assert values == sorted(values)
    assert values[0] == 0
    assert values[-1] == versions[-1][1]
    between = versions[1:-1]
    assert len(between) >= 2, "it said something on its way"
    for earlier, later in zip(versions[:-2], between, strict=True):
        assert later[2] - earlier[2] > timedelta(seconds=0.95)


# The statements


@pytest.mark.parametrize("how", ["an earlier attempt", "another worker", "no longer running"])
def test_what_is_said_by_an_attempt_that_lost_its_job_is_dropped(
    connection: Connection, how: str
) -> None:
    job_id = add(connection)
    job = claim_one(connection)
    if how == "an earlier attempt":
        job = job._replace(attempt=0)
    elif how == "no longer running":
        lapse(connection)
        connection.execute(
            "UPDATE pgqueue.jobs SET state = 'available', lease_until = NULL WHERE id = %s",
            [job_id],
        )
    author = OTHER_WORKER if how == "another worker" else WORKER
    line = Line("INFO", "late", None, 0.0)
    write(connection, said(job, Report(1, 2, None), "3", [line]), worker_id=author)

    assert progress_of(connection, job_id) is None
    assert kept_lines(connection, job_id) == []


def test_the_word_of_a_later_attempt_stands(connection: Connection) -> None:
    """Whatever an earlier one still gets through, between its rescue and its hearing of it."""
    job_id = add(connection)
    job = claim_one(connection)
    connection.execute(
        "INSERT INTO pgqueue.progress (job_id, attempt, updated_at, done, checkpoint)"
        " VALUES (%s, 2, now(), 7, '70')",
        [job_id],
    )
    write(connection, said(job, Report(1, 2, None), "3"))

    assert progress_of(connection, job_id) == (2, 7, None, None, "70")


def test_what_is_not_said_stays_as_it_was(connection: Connection) -> None:
    job_id = add(connection)
    job = claim_one(connection)
    write(connection, said(job, Report(1, 10, '{"stage": "a"}'), '{"at": 1}'))
    write(connection, said(job, Report(2, None, None)))
    assert progress_of(connection, job_id) == (1, 2, 10, '{"stage": "a"}', '{"at": 1}')

    write(connection, said(job, None, "null"))
    assert progress_of(connection, job_id) == (1, 2, 10, '{"stage": "a"}', "null")


def test_a_note_waits_for_nobody_who_holds_the_row_of_its_job(dsn: str) -> None:
    """A handler's own transaction may hold it for hours."""
    with psycopg.connect(dsn) as holder, psycopg.connect(dsn, autocommit=True) as writer:
        job_id = add(writer)
        job = claim_one(writer)
        holder.execute("SELECT 1 FROM pgqueue.jobs WHERE id = %s FOR UPDATE", [job_id])
        writer.execute("SET lock_timeout = '1ms'")
        line = Line("INFO", "through", None, 0.0)
        write(writer, said(job, Report(1, 2, None), "3", [line]))

        assert progress_of(writer, job_id) == (1, 1, 2, None, "3")
        assert kept_lines(writer, job_id) == [(1, 1, "INFO", "through", None)]


def test_progress_is_updated_in_place(dsn: str) -> None:
    """HOT: no index grows, and no vacuum is needed, however long a job speaks."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        for _ in range(10):
            add(connection)
        jobs = claim(connection)
        for step in range(100):
            write(connection, *(said(job, Report(step, 100, None), str(step)) for job in jobs))
        connection.execute("SELECT pg_stat_force_next_flush()")
        updates = connection.execute(
            "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'progress'"
        ).fetchone()
    assert updates is not None
    assert updates[0] == 990
    assert updates[1] > 800, "a page must be tidied now and then, and others may be looking at it"


def test_the_progress_of_jobs_that_are_over_is_forgotten_and_no_other(
    connection: Connection,
) -> None:
    ids = [add(connection) for _ in range(10)]
    connection.execute(
        "INSERT INTO pgqueue.progress (job_id, attempt, updated_at)"
        " SELECT id, 1, now() - interval '2 hours' FROM pgqueue.jobs"
    )
    connection.execute("DELETE FROM pgqueue.jobs WHERE id = ANY(%s)", [[*ids[::2], ids[1]]])
    connection.execute("UPDATE pgqueue.progress SET updated_at = now() WHERE job_id = %s", [ids[1]])

    after, pruned = 0, 0
    while True:
        window = run(connection, noting.prune_progress(after=after, limit=3))
        pruned += window.pruned
        assert window.looked_at <= 3
        if window.last is None:
            break
        after = window.last
    left = connection.execute("SELECT job_id FROM pgqueue.progress ORDER BY 1").fetchall()
    assert pruned == 5
    assert [row[0] for row in left] == ids[1::2]


@pytest.mark.parametrize(
    ("verb", "kept"),
    [
        ("SELECT pgqueue.retry(%s)", True),
        ("""SELECT pgqueue.retry(%s, '{"n": 2}')""", False),
        ("""SELECT pgqueue.edit(%s, '{"n": 2}')""", False),
    ],
)
def test_a_checkpoint_belongs_to_the_arguments_it_was_made_for(
    connection: Connection, verb: str, kept: bool
) -> None:
    job_id = add(connection, delay=60)
    connection.execute(
        "INSERT INTO pgqueue.progress (job_id, attempt, updated_at, checkpoint)"
        " VALUES (%s, 1, now(), '5')",
        [job_id],
    )
    connection.execute(verb, [job_id])  # type: ignore[call-overload]
    assert (progress_of(connection, job_id) is not None) is kept


def test_percent_is_rounded_down_and_forced_to_100_by_success(connection: Connection) -> None:
    job_id = add(connection)
    job = claim_one(connection)

    def percent() -> Any:
        row = connection.execute(
            "SELECT percent FROM pgqueue.job_progress WHERE job_id = %s", [job_id]
        ).fetchone()
        assert row is not None
        return row[0]

    assert percent() is None
    for done, total, expected in ((0, 3, 0), (1, 3, 33), (2.999, 3, 99), (4, 3, 100), (0, 0, 100)):
        write(connection, said(job, Report(done, total, None)))
        assert percent() == expected
    write(connection, said(job, Report(1, 3, None)))
    connection.execute(
        "WITH over AS (DELETE FROM pgqueue.jobs WHERE id = %s RETURNING *)"
        " INSERT INTO pgqueue.finished_jobs (id, attempt, created_at, run_at, finished_at,"
        " expires_on, failures, crashes, max_attempts, priority, state, queue, task, args)"
        " SELECT id, attempt, created_at, run_at, now(), pgqueue.expiry('7 days'), 0, 0, 5, 1,"
        " 'succeeded', queue, task, args FROM over",
        [job_id],
    )
    assert percent() == 100


# In a worker


@pytest.mark.parametrize("kind", ["thread", "loop"])
def test_acceptance_14_progress_for_every_item_is_written_once_a_second(
    dsn: str, kind: str
) -> None:
    tasks = Tasks()
    items = 1000

    @tasks.task("thread")
    def count_in_thread(ctx: Context) -> None:
        for item in range(items + 1):
            ctx.progress(item, items)
            time.sleep(0.003)

    @tasks.task("loop")
    async def count_on_the_loop(ctx: Context) -> None:
        for item in range(items + 1):
            ctx.progress(item, items)
            await asyncio.sleep(0.003)

    rows(dsn, WATCH)
    (job,) = enqueue(dsn, NewJob(kind))

    async def work() -> None:
        async with Worker(tasks, dsn):
            await until_state(dsn, job, "succeeded")

    asyncio.run(work())
    assert_paced(rows(dsn, "SELECT done, total, at FROM versions ORDER BY at"))


def test_a_job_that_says_nothing_leaves_nothing(dsn: str) -> None:
    tasks = Tasks()

    @tasks.task("quiet")
    async def quiet(ctx: Context) -> None:
        ctx.log.debug("too low to be kept")

    (job,) = enqueue(dsn, quiet.job())

    async def work() -> None:
        async with Worker(tasks, dsn):
            await until_state(dsn, job, "succeeded")

    asyncio.run(work())
    assert (
        rows(dsn, "SELECT 1 FROM pgqueue.progress UNION ALL SELECT 1 FROM pgqueue.job_logs") == []
    )


def test_each_attempt_finds_what_the_one_before_it_left(dsn: str) -> None:
    """At once: it is written in the transaction that gives the job back."""
    tasks = Tasks()
    found: list[Any] = []

    @tasks.task("steps", max_attempts=50, backoff=Fixed(0))
    async def steps(ctx: Context) -> None:
        found.append(ctx.last_checkpoint)
        ctx.checkpoint({"step": len(found), "when": timedelta(seconds=len(found))})
        assert ctx.last_checkpoint["step"] == len(found)
        ctx.log("did", step=len(found))
        if len(found) < 20:
            raise ValueError("not yet")

    (job,) = enqueue(dsn, steps.job())

    async def work() -> None:
        async with Worker(tasks, dsn):
            await until_state(dsn, job, "succeeded")

    asyncio.run(work())
    assert found == [None, *({"step": n, "when": timedelta(seconds=n)} for n in range(1, 20))]
    kept = rows(dsn, "SELECT attempt, n, fields->>'step' FROM pgqueue.job_logs ORDER BY attempt")
    assert kept == [(attempt, 1, str(attempt)) for attempt in range(1, 21)]


@pytest.mark.parametrize("level", ["READ_COMMITTED", "REPEATABLE_READ"])
def test_a_transactional_handler_is_heard_while_it_runs_and_keeps_its_last_words(
    dsn: str, level: str
) -> None:
    @asynccontextmanager
    async def application() -> AsyncIterator[AsyncConnection[Any]]:
        async with await AsyncConnection.connect(dsn) as connection:
            await connection.set_isolation_level(IsolationLevel[level])
            yield connection

    tasks = Tasks(transaction=application)
    seen = asyncio.Event()

    @tasks.task("works", transactional=True)
    async def works(ctx: Context) -> None:
        await ctx.connection.execute("SELECT count(*) FROM pgqueue.jobs")
        for number in range(300):
            ctx.log("line", number=number)
        ctx.progress(1, 2)
        await seen.wait()
        ctx.log("line", number=300)

    (job,) = enqueue(dsn, works.job())

    async def work() -> None:
        async with Worker(tasks, dsn):
            await until(lambda: rows(dsn, "SELECT 1 FROM pgqueue.progress WHERE done = 1"))
            seen.set()
            await until_state(dsn, job, "succeeded")

    asyncio.run(work())
    assert rows(dsn, "SELECT attempt FROM pgqueue.finished_jobs") == [(1,)]
    kept = rows(dsn, "SELECT DISTINCT n, message FROM pgqueue.job_logs ORDER BY n")
    assert [n for n, _ in kept] == list(range(1, 202))
    assert kept[-1][1] == "101 more lines were logged and not kept"


def test_short_transactional_jobs_that_log_lose_no_line_and_are_never_in_each_others_way(
    dsn: str,
) -> None:
    """Each ends while the pump may be writing its first line."""

    @asynccontextmanager
    async def application() -> AsyncIterator[AsyncConnection[Any]]:
        async with await AsyncConnection.connect(dsn) as connection:
            await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
            yield connection

    tasks = Tasks(transaction=application)

    @tasks.task("works", transactional=True)
    async def works(ctx: Context) -> None:
        ctx.log("first")
        await ctx.connection.execute("SELECT count(*) FROM pgqueue.jobs")
        ctx.log("last")

    ids = enqueue(dsn, *(works.job() for _ in range(100)))

    async def work() -> None:
        async with Worker(tasks, dsn):
            await until(lambda: rows(dsn, "SELECT count(*) FROM pgqueue.finished_jobs") == [(100,)])

    asyncio.run(work())
    assert rows(dsn, "SELECT DISTINCT attempt FROM pgqueue.finished_jobs") == [(1,)]
    kept = rows(dsn, "SELECT DISTINCT job_id, n FROM pgqueue.job_logs ORDER BY 1, 2")
    assert kept == [(job_id, n) for job_id in ids for n in (1, 2)]


def test_a_cancelled_thread_stops_at_its_next_word_which_is_kept(dsn: str) -> None:
    tasks = Tasks()
    last: list[int] = []

    @tasks.task("counts", timeout=None)
    def counts(ctx: Context) -> None:
        while True:
            last.append(len(last))
            ctx.checkpoint(last[-1])
            time.sleep(0.01)

    (job,) = enqueue(dsn, counts.job())

    async def work() -> None:
        async with Worker(tasks, dsn):
            await until(lambda: last)
            rows(dsn, "SELECT pgqueue.cancel(%s)", job)
            await until_state(dsn, job, "cancelled")

    asyncio.run(work())
    assert rows(dsn, "SELECT checkpoint #>> '{}' FROM pgqueue.progress") == [(str(last[-1]),)]


def test_a_thread_past_its_timeout_ends_at_its_next_word_and_frees_its_slot(dsn: str) -> None:
    tasks = Tasks()
    ended = threading.Event()

    @tasks.task("overruns", timeout=0.2, max_attempts=1)
    def overruns(ctx: Context) -> None:
        try:
            while True:
                ctx.progress(1)
                time.sleep(0.01)
        except LeaseLost:
            ended.set()
            raise

    (job,) = enqueue(dsn, overruns.job())

    async def work() -> None:
        async with Worker(tasks, dsn, Settings(queues={"default": 1})) as worker:
            await until_state(dsn, job, "dead")
            await until(ended.is_set)
            await until(lambda: worker.parts.crew.lanes["default"].running == 0)

    asyncio.run(work())


def test_a_rescued_jobs_last_words_are_dropped_without_noise(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    tasks = Tasks()
    gate = threading.Event()

    @tasks.task("speaks", timeout=None)
    def speaks(ctx: Context) -> None:
        if ctx.attempt == 1:
            ctx.checkpoint("before")
            gate.wait(20)
            ctx.log("after")
            ctx.checkpoint("after")

    (job,) = enqueue(dsn, speaks.job())

    async def work() -> None:
        async with Worker(tasks, dsn) as worker:
            await until(lambda: rows(dsn, "SELECT 1 FROM pgqueue.progress"))
            take_away(dsn, job)
            gate.set()
            await until(lambda: worker.parts.completer.lost)
            await until_state(dsn, job, "succeeded")

    with caplog.at_level(logging.WARNING):
        asyncio.run(work())
    assert rows(dsn, "SELECT attempt, checkpoint::text FROM pgqueue.progress") == [(1, '"before"')]
    assert rows(dsn, "SELECT 1 FROM pgqueue.job_logs") == []
    assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []


def test_what_is_said_outlives_the_loss_of_every_connection(dsn: str) -> None:
    tasks = Tasks()

    @tasks.task("speaks", timeout=None)
    def speaks(ctx: Context) -> None:
        for item in range(151):
            ctx.progress(item, 150)
            ctx.log("item", number=item)
            time.sleep(0.02)

    (job,) = enqueue(dsn, speaks.job())

    async def work() -> None:
        async with Worker(tasks, dsn):
            for _ in range(4):
                ((done,),) = rows(dsn, "SELECT coalesce(max(done), -1) FROM pgqueue.progress")
                further = "SELECT 1 FROM pgqueue.progress WHERE done > %s"
                await until(lambda further=further, done=done: rows(dsn, further, done))
                rows(dsn, DISCONNECT, "pgqueue:%")
            await until_state(dsn, job, "succeeded")

    asyncio.run(work())
    assert rows(dsn, "SELECT done, total FROM pgqueue.progress") == [(150, 150)]
    kept = rows(dsn, "SELECT DISTINCT n FROM pgqueue.job_logs ORDER BY n")
    assert [row[0] for row in kept] == list(range(1, 152))


@pytest.mark.parametrize("table", ["progress", "job_logs"])
def test_what_postgres_refuses_to_keep_holds_up_nobody(
    dsn: str, table: str, caplog: pytest.LogCaptureFixture
) -> None:
    rows(dsn, f"ALTER TABLE pgqueue.{table} ADD CHECK (job_id <> 1)")
    tasks = Tasks()

    @tasks.task("speaks")
    async def speaks(ctx: Context) -> int:
        ctx.log("here")
        ctx.progress(1, 1)
        return ctx.id

    ids = enqueue(dsn, *(speaks.job() for _ in range(20)))
    assert ids[0] == 1

    async def work() -> None:
        async with Worker(tasks, dsn):
            await until(lambda: rows(dsn, "SELECT count(*) FROM pgqueue.finished_jobs") == [(20,)])

    with caplog.at_level(logging.ERROR):
        asyncio.run(work())
    assert rows(dsn, "SELECT DISTINCT state, attempt FROM pgqueue.finished_jobs") == [
        ("succeeded", 1)
    ]
    assert "cannot be stored" in caplog.text


# What may be said


class Heard:
    """A scribe that only listens."""

    def __init__(self) -> None:
        self.notes: list[Note] = []

    def note(self, job: Job, note: Note) -> None:
        self.notes.append(note)

    def extend(self, job: Job, seconds: float) -> None: ...


def context(scribe: Scribe | None = None) -> Context:
    moment = datetime(2026, 1, 1)
    job = Job(
        7, 1, "default", "t", 1, moment, moment, 0, 0, 5, 3, None, None, "{}", None
    )  # fmt: skip
    return Context(job, scribe=scribe)


@pytest.mark.parametrize("amount", [-1, math.nan, math.inf, True, "3", [1]])
def test_progress_that_is_no_quantity_is_refused(amount: Any) -> None:
    with pytest.raises(InvalidOption, match="done: must be a number from 0 on"):
        context().progress(amount)
    with pytest.raises(InvalidOption, match="total: must be"):
        context().progress(1, amount)


def test_progress_can_be_said_in_three_ways() -> None:
    heard = Heard()
    ctx = context(heard)
    ctx.progress(1, 4)
    ctx.progress({"stage": "reading"})
    ctx.progress(2, stage="writing", left=[3])
    assert heard.notes == [
        Report(1, 4, None),
        Report(None, None, '{"stage":"reading"}'),
        Report(2, None, '{"stage":"writing","left":[3]}'),
    ]


def test_a_checkpoint_is_any_value_that_an_argument_can_be_and_bounded() -> None:
    heard = Heard()
    ctx = context(heard)
    assert ctx.last_checkpoint is None
    ctx.checkpoint({"at": datetime(2026, 1, 1), "n": 3})
    assert ctx.last_checkpoint == {"at": datetime(2026, 1, 1), "n": 3}
    assert len(heard.notes) == 1
    assert isinstance(heard.notes[0], Checkpoint)
    with pytest.raises(InvalidPayload, match="checkpoint: 65538 bytes of JSON are more"):
        ctx.checkpoint("x" * 65536)
    with pytest.raises(InvalidPayload, match="checkpoint"):
        ctx.checkpoint(object())
    assert len(heard.notes) == 1


def test_a_context_that_nobody_listens_to_can_be_spoken_to() -> None:
    ctx = context()
    ctx.progress(1, 2)
    ctx.checkpoint(3)
    ctx.log("hello", to=4)
    ctx.extend(5)
    assert ctx.last_checkpoint == 3


class Unspeakable:
    def __repr__(self) -> str:
        raise ValueError("no")


@pytest.mark.parametrize(
    "fields",
    [
        {"x": "y" * 100_000},
        {"x": math.nan, "y": Unspeakable()},
        {"x": {(1, 2): 3}},
        {"x": "half a character \ud800 and a NUL \0"},
        {"message": "taken", "name": "taken", "task": "taken", "args": (1, 2)},
    ],
)
def test_any_field_can_be_kept_and_no_line_is_longer_than_its_limit(
    connection: Connection, fields: dict[str, Any]
) -> None:
    heard = Heard()
    context(heard).log("m" * 100_000 + "\0\ud800", **fields)
    (line,) = heard.notes
    assert isinstance(line, Line)
    assert len(line.message.encode()) + len((line.fields or "").encode()) <= LINE_LIMIT

    job_id = add(connection)
    job = claim_one(connection)
    write(connection, said(job, lines=[line]))
    assert len(kept_lines(connection, job_id)) == 1


def test_a_log_is_used_as_any_logger_or_called(caplog: pytest.LogCaptureFixture) -> None:
    heard = Heard()
    log: JobLog = context(heard).log
    with caplog.at_level(logging.DEBUG):
        log("sent", to=3, task="other")
        log.debug("too low")
        log.warning("slow: %s after %d", "host", 5, extra={"ms": 7})
        try:
            raise KeyError("k")
        except KeyError:
            log.exception("failed")
        log("bad", level=logging.ERROR)
    assert [(n.level, n.message, n.fields) for n in heard.notes if isinstance(n, Line)] == [
        ("INFO", "sent", '{"to": 3, "task": "other"}'),
        ("WARNING", "slow: host after 5", '{"ms": 7}'),
        ("ERROR", "failed", '{"error": "KeyError: \'k\'"}'),
        ("ERROR", "bad", None),
    ]
    first, _, third = caplog.records[:3]
    assert (first.to, first.task, first.task_) == (3, "t", "other")  # type: ignore[attr-defined]
    assert {first.filename, third.filename} == {"test_notes.py"}
    assert first.funcName == third.funcName == "test_a_log_is_used_as_any_logger_or_called"


# How long it takes


def test_a_job_over_its_target_is_logged_and_counted_and_nothing_else(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    tasks = Tasks()

    async def linger() -> None:
        await asyncio.sleep(0.05)

    for name, target in (("slow", 0.01), ("in-time", 10), ("aimless", None)):
        tasks.task(name, target_runtime=target)(linger)
    ids = enqueue(dsn, *(NewJob(name) for name in ("slow", "in-time", "aimless", "slow")))

    async def work() -> None:
        async with Worker(tasks, dsn) as worker:
            for job in ids:
                await until_state(dsn, job, "succeeded")
            await until(lambda: worker.parts.reporter.over_target == {"slow": 2})

    with caplog.at_level(logging.INFO):
        asyncio.run(work())
    lines = [r.getMessage() for r in caplog.records if "job_over_target" in r.getMessage()]
    assert len(lines) == 2
    assert lines[0].startswith(f"job_over_target slow[{ids[0]}] took 0.")
    assert lines[0].endswith("s, and is to take 0.01 s at most")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"heartbeat": "never"}, "heartbeat: must be 'auto' or 'manual', not 'never'"),
        ({"lease": 0.5}, "lease: must be at least 1 second, not 0.5"),
        ({"lease": "1"}, "lease: must be seconds or a timedelta"),
        ({"target_runtime": 0}, "target_runtime: must be longer than nothing"),
    ],
)
def test_a_pace_that_nobody_can_keep_is_refused(options: dict[str, Any], error: str) -> None:
    with pytest.raises(InvalidOption, match=error):
        Tasks().task("t", **options)


@pytest.mark.parametrize("seconds", [0.5, -1, "3", True])
def test_a_lease_cannot_be_extended_by_what_is_no_length(seconds: Any) -> None:
    with pytest.raises(InvalidOption, match="seconds"):
        context().extend(seconds)


def test_more_than_a_statement_should_carry_goes_ahead_of_the_outcomes(dsn: str) -> None:
    """24 MB of last words, of jobs that end together."""
    tasks = Tasks()
    together = threading.Barrier(15)

    @tasks.task("verbose", max_attempts=1)
    def verbose(ctx: Context) -> None:
        for _ in range(200):
            ctx.log("x" * LINE_LIMIT)
        together.wait(30)

    enqueue(dsn, *(verbose.job() for _ in range(15)))

    async def work() -> None:
        async with Worker(tasks, dsn, Settings(queues={"default": 15})):
            await until(lambda: rows(dsn, "SELECT count(*) FROM pgqueue.finished_jobs") == [(15,)])

    logging.getLogger("pgqueue.job").setLevel(logging.WARNING)
    try:
        asyncio.run(work())
    finally:
        logging.getLogger("pgqueue.job").setLevel(logging.NOTSET)
    kept = rows(
        dsn, "SELECT count(DISTINCT (job_id, n)), max(length(message)) FROM pgqueue.job_logs"
    )
    assert kept == [(3000, LINE_LIMIT)]
