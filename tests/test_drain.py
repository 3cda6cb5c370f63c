"""A drain does in a test's transaction what workers would do: the same outcomes, at the same times,
and nothing of it is there when the test is over."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from enum import Enum
from itertools import pairwise
from typing import Any

import psycopg
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    mapped_column,
    scoped_session,
    sessionmaker,
)

from pgqueue import (
    Cancel,
    Context,
    Delays,
    Fail,
    Fixed,
    JobEvent,
    LeaseLost,
    NewJob,
    PgqueueError,
    Retry,
    Snooze,
    Tasks,
    UnsupportedConnection,
    batch_status,
    cancel,
    current_job,
    enqueue,
    enqueue_async,
    enqueue_batch,
    enqueue_many,
    schedule,
)
from pgqueue.storage import upkeep
from pgqueue.storage.drivers import run
from pgqueue.testing import (
    Drained,
    DrainFailed,
    assert_enqueued,
    assert_not_enqueued,
    drain,
    drain_async,
    enqueued_jobs,
    rehearsing,
)
from tests.connections import KINDS, Application
from tests.postgres import url_of
from tests.rows import attempt_rows, job_row

Connection = psycopg.Connection[Any]
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MINUTE = 60.0


class Diary:
    """Tasks, and what ran of them."""

    def __init__(self) -> None:
        self.tasks = Tasks(transaction=Session)  # never called: a drain has a connection of its own
        self.ran: list[Any] = []

        @self.tasks.task("note")
        def note(entry: Any = None) -> Any:
            self.ran.append(entry)
            return entry

        self.note = note


@pytest.fixture
def diary() -> Diary:
    return Diary()


@pytest.fixture(params=KINDS)
def application(request: pytest.FixtureRequest, shared_dsn: str) -> Iterator[Application]:
    with KINDS[request.param](shared_dsn) as application:
        yield application


def drained(application: Application, tasks: Tasks, **how: Any) -> Drained:
    """Drain whatever kind of connection this is."""
    is_async = hasattr(application.connection, "run_sync") or isinstance(
        application.connection, psycopg.AsyncConnection
    )
    function: Any = drain_async if is_async else drain
    return application.do(function(application.connection, tasks, **how))  # type: ignore[no-any-return]


def count(dsn: str) -> int:
    """How many jobs everybody else sees."""
    with psycopg.connect(dsn) as other:
        row = other.execute("SELECT count(*) FROM pgqueue.all_jobs").fetchone()
    assert row is not None
    return int(row[0])


# Whatever the connection


def test_a_job_is_run_on_the_tests_own_connection_and_gone_with_its_transaction(
    application: Application, diary: Diary, shared_dsn: str
) -> None:
    before = count(shared_dsn)
    application.enqueue(diary.note.job("hello"))

    done = drained(application, diary.tasks)

    assert diary.ran == done.results == ["hello"]
    assert application.execute("SELECT state, result::text FROM pgqueue.finished_jobs") == [
        ("succeeded", '"hello"')
    ]
    assert count(shared_dsn) == before
    application.rollback()
    assert application.execute("SELECT count(*) FROM pgqueue.all_jobs") == [(before,)]


def test_time_goes_on_whatever_the_connection(application: Application, diary: Diary) -> None:
    application.enqueue(diary.note.job("later"), delay=3600)

    assert len(drained(application, diary.tasks, until=HOUR / 2)) == 0
    assert drained(application, diary.tasks, until=HOUR).results == ["later"]


@pytest.mark.parametrize(
    "kind", ["psycopg Connection", "SQLAlchemy Connection", "SQLAlchemy Session"]
)
def test_a_transactional_handler_works_in_the_tests_transaction(
    kind: str, diary: Diary, shared_dsn: str
) -> None:
    @diary.tasks.task("write", transactional=True, max_attempts=1)
    def write(ctx: Context, fails: bool) -> str:
        execute(ctx.connection, "INSERT INTO pgqueue.queues (name) VALUES ('mine')")
        if fails:
            execute(ctx.connection, "SELECT 1 / 0")
        return "written"

    with KINDS[kind](shared_dsn) as application:
        application.enqueue(write.job(fails=False))
        assert drained(application, diary.tasks).results == ["written"]
        assert application.execute("SELECT name FROM pgqueue.queues") == [("mine",)]
        application.rollback()

        application.enqueue(write.job(fails=True))
        done = drained(application, diary.tasks, raise_errors=False)

        assert (done.dead, done.succeeded) == (1, 0)
        assert application.execute("SELECT name FROM pgqueue.queues") == []
        assert application.execute("SELECT state FROM pgqueue.jobs") == [("dead",)]


def execute(connection: Any, sql: str) -> None:
    connection.execute(sql if isinstance(connection, psycopg.Connection) else text(sql))


@pytest.mark.parametrize(
    "kind", ["psycopg AsyncConnection", "SQLAlchemy AsyncConnection", "SQLAlchemy AsyncSession"]
)
def test_a_transactional_coroutine_works_in_the_tests_transaction(
    kind: str, diary: Diary, shared_dsn: str
) -> None:
    @diary.tasks.task("write", transactional=True, max_attempts=1)
    async def write(ctx: Context, fails: bool) -> str:
        is_psycopg = isinstance(ctx.connection, psycopg.AsyncConnection)
        wrap: Callable[[str], Any] = str if is_psycopg else text
        await ctx.connection.execute(wrap("INSERT INTO pgqueue.queues (name) VALUES ('mine')"))
        if fails:
            await ctx.connection.execute(wrap("SELECT 1 / 0"))
        return "written"

    with KINDS[kind](shared_dsn) as application:
        application.enqueue(write.job(fails=False))
        assert drained(application, diary.tasks).results == ["written"]
        assert application.execute("SELECT name FROM pgqueue.queues") == [("mine",)]
        application.rollback()

        application.enqueue(write.job(fails=True))
        done = drained(application, diary.tasks, raise_errors=False)

        assert (done.dead, done.succeeded) == (1, 0)
        assert application.execute("SELECT name FROM pgqueue.queues") == []


def test_what_cannot_be_rolled_back_is_refused(diary: Diary, shared_dsn: str) -> None:
    with psycopg.connect(shared_dsn, autocommit=True) as connection:
        with pytest.raises(UnsupportedConnection, match="open a transaction"):
            drain(connection, diary.tasks)
        with connection.transaction(force_rollback=True):
            enqueue(connection, diary.note.job("in a block"))
            assert drain(connection, diary.tasks).results == ["in a block"]


def test_the_wrong_one_of_the_pair_is_refused(diary: Diary, connection: Connection) -> None:
    with pytest.raises(UnsupportedConnection, match="does not end in _async"):
        asyncio.run(drain_async(connection, diary.tasks))


# Order and choice


def test_the_urgent_come_first_then_the_oldest(diary: Diary, connection: Connection) -> None:
    enqueue_many(connection, [diary.note.job(n) for n in range(3)])
    enqueue(connection, diary.note.job("urgent"), priority=1, queue="elsewhere")

    drain(connection, diary.tasks)

    assert diary.ran == ["urgent", 0, 1, 2]


def test_what_a_job_enqueues_is_run_too(diary: Diary, connection: Connection) -> None:
    @diary.tasks.task("chain", transactional=True)
    def chain(ctx: Context, n: int) -> None:
        if n:
            enqueue(ctx.connection, chain.job(n - 1))

    enqueue(connection, chain.job(4))

    assert len(drain(connection, diary.tasks)) == 5


def test_only_so_many_and_only_of_some_queues(diary: Diary, connection: Connection) -> None:
    enqueue_many(connection, [diary.note.job(n) for n in range(3)])
    enqueue(connection, diary.note.job("mail"), queue="email")

    assert drain(connection, diary.tasks, queues=["email"]).results == ["mail"]
    assert drain(connection, diary.tasks, limit=2).results == [0, 1]
    assert drain(connection, diary.tasks).results == [2]


def test_unknown_tasks_and_paused_queues_wait(diary: Diary, connection: Connection) -> None:
    enqueue(connection, NewJob("unknown"))
    enqueue(connection, diary.note.job(1), queue="paused")
    connection.execute("SELECT pgqueue.pause('paused')")

    assert len(drain(connection, diary.tasks, until=HOUR)) == 0
    connection.execute("SELECT pgqueue.resume('paused')")
    assert len(drain(connection, diary.tasks)) == 1
    assert_enqueued(connection, "unknown", state="available")


def test_a_drain_without_end_says_so(
    diary: Diary, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearsing, "ENDLESS", 20)

    @diary.tasks.task("again")
    def again() -> None:
        raise Snooze(1)

    enqueue(connection, again.job())
    with pytest.raises(PgqueueError, match="20 attempts were run"):
        drain(connection, diary.tasks, until=DAY)


# What becomes of a job


def test_an_attempt_that_fails_is_tried_again_when_its_backoff_is_over(
    diary: Diary, connection: Connection
) -> None:
    @diary.tasks.task("flaky", max_attempts=4, backoff=Delays([10, 600, 3600]))
    def flaky(ctx: Context) -> int:
        if ctx.run < 4:
            raise ConnectionError(f"run {ctx.run}")
        return ctx.run

    job = enqueue(connection, flaky.job())
    done = drain(connection, diary.tasks, until=2 * HOUR, raise_errors=False)

    first, *others = [attempt.at for attempt in done.attempts]
    assert [(at - first).total_seconds() for at in others] == [10, 610, 4210]
    assert [attempt.outcome for attempt in done.attempts] == ["retried"] * 3 + ["succeeded"]
    assert [attempt.delay for attempt in done.attempts] == [10, 600, 3600, None]
    assert str(done.attempts[1].error) == "run 2"
    assert done.results == [4]
    row = job_row(connection, job.id)
    assert (row.state, row.attempt, row.failures) == ("succeeded", 4, 3)
    assert [row.outcome for row in attempt_rows(connection, job.id)] == ["failed"] * 3


def test_a_job_that_fails_for_good_goes_to_the_dead_letter_and_is_reacted_to(
    diary: Diary, connection: Connection
) -> None:
    @diary.tasks.task("hopeless", max_attempts=2, backoff=Fixed(60), on_dead_task="mourn")
    def hopeless() -> None:
        raise KeyError("gone")

    @diary.tasks.task("mourn", queue="sad", timeout=7)
    def mourn(job_id: int, reason: str, **rest: Any) -> tuple[int, str]:
        return job_id, reason

    job = enqueue(connection, hopeless.job())
    done = drain(connection, diary.tasks, until=HOUR, raise_errors=False)

    assert [attempt.outcome for attempt in done.attempts] == ["retried", "dead", "succeeded"]
    assert done.attempts[1].reason == "attempts_exhausted"
    assert done.results == [[job.id, "attempts_exhausted"]]
    assert_enqueued(connection, mourn, queue="sad", containing={"job_id": job.id}, count=1)
    assert job_row(connection, job.id).state == "dead"


def test_the_error_of_a_handler_is_raised_once_its_outcome_is_written(
    diary: Diary, connection: Connection
) -> None:
    class Unpaid(Exception):
        pass

    @diary.tasks.task("pay", max_attempts=3)
    def pay() -> None:
        raise Unpaid("no money")

    job = enqueue(connection, pay.job())
    with pytest.raises(Unpaid, match="no money") as caught:
        drain(connection, diary.tasks)

    assert any(f"pay[{job.id}], attempt 1" in note for note in caught.value.__notes__)
    assert job_row(connection, job.id).state == "scheduled"
    assert job_row(connection, job.id).failures == 1


def test_what_a_handler_decides_is_no_error(diary: Diary, connection: Connection) -> None:
    signals: dict[str, BaseException] = {
        "snooze": Snooze(30),
        "cancel": Cancel("not needed"),
        "fail": Fail("never"),
        "retry": Retry(after=40),
    }

    @diary.tasks.task("decide", max_attempts=2)
    def decide(ctx: Context, how: str) -> str:
        if ctx.attempt == 1:
            raise signals[how]
        return how

    for how in signals:
        enqueue(connection, decide.job(how))
    done = drain(connection, diary.tasks, until=HOUR)

    assert [attempt.outcome for attempt in done.attempts] == [
        "snoozed",
        "cancelled",
        "dead",
        "retried",
        "succeeded",
        "succeeded",
    ]
    assert done.results == ["snooze", "retry"]


def test_a_job_that_is_cancelled_while_it_runs_is_not_tried_again(
    diary: Diary, connection: Connection
) -> None:
    @diary.tasks.task("withdraw")
    def withdraw(ctx: Context) -> None:
        cancel(connection, ctx.id)
        raise ConnectionError

    enqueue(connection, withdraw.job())
    done = drain(connection, diary.tasks, until=DAY)

    assert [attempt.outcome for attempt in done.attempts] == ["cancelled"]


def test_a_conflict_is_tried_again_within_the_attempt(diary: Diary, connection: Connection) -> None:
    @diary.tasks.task("collide", transactional=True)
    def collide(ctx: Context) -> int:
        diary.ran.append(ctx.attempt)
        ctx.connection.execute("INSERT INTO pgqueue.queues (name) VALUES ('mine')")
        if len(diary.ran) == 1:
            raise psycopg.errors.SerializationFailure
        return len(diary.ran)

    enqueue(connection, collide.job())

    assert drain(connection, diary.tasks).results == [2]
    assert diary.ran == [1, 1]


def test_a_coroutine_that_takes_too_long_is_timed_out(diary: Diary, connection: Connection) -> None:
    @diary.tasks.task("slow", max_attempts=1, timeout=0.05)
    async def slow() -> None:
        await asyncio.sleep(60)

    enqueue(connection, slow.job())
    with pytest.raises(DrainFailed, match=r"took longer than its timeout of 0\.05 s"):
        drain(connection, diary.tasks)
    assert_enqueued(connection, slow, state="dead")


def test_a_thread_that_takes_too_long_has_ended_before_the_drain_goes_on(
    diary: Diary, connection: Connection
) -> None:
    @diary.tasks.task("slow", max_attempts=1, timeout=0.05)
    def slow() -> None:
        time.sleep(0.3)
        diary.ran.append("ended")

    enqueue(connection, slow.job())
    enqueue(connection, diary.note.job("next"))
    done = drain(connection, diary.tasks, raise_errors=False)

    assert [attempt.outcome for attempt in done.attempts] == ["dead", "succeeded"]
    assert diary.ran == ["ended", "next"]


def test_arguments_that_no_longer_fit_kill_the_job(diary: Diary, connection: Connection) -> None:
    enqueue(connection, NewJob("note", '{"wrong": 1}'))

    with pytest.raises(DrainFailed, match="do not fit note"):
        drain(connection, diary.tasks)
    assert_enqueued(connection, "note", state="dead")


def test_an_expired_job_is_not_run_and_is_dead(diary: Diary, connection: Connection) -> None:
    connection.execute("SELECT pgqueue.pause('default')")
    enqueue(connection, diary.note.job("too late"), expires=3600)

    drain(connection, diary.tasks, until=HOUR / 2)
    assert_enqueued(connection, diary.note, state="available")
    drain(connection, diary.tasks, until=HOUR)
    assert_enqueued(connection, diary.note, state="dead")
    connection.execute("SELECT pgqueue.resume('default')")
    assert len(drain(connection, diary.tasks)) == 0


class Color(Enum):
    RED = "red"


def test_results_are_as_the_task_returned_them(diary: Diary, connection: Connection) -> None:
    @diary.tasks.task("paint")
    def paint(color: Color) -> Color:
        return color

    @diary.tasks.task("paint-here", transactional=True)
    def paint_here(ctx: Context, color: Color) -> Color:
        return color

    enqueue_many(connection, [paint.job(Color.RED), paint_here.job(Color.RED)])

    assert drain(connection, diary.tasks).results == [Color.RED, Color.RED]


def test_process_tasks_run_in_this_process(diary: Diary, connection: Connection) -> None:
    @diary.tasks.task("heavy", executor="process")
    def heavy(ctx: Context, n: int) -> int:
        diary.ran.append(ctx.task)
        return n * 2

    enqueue(connection, heavy.job(21))

    assert drain(connection, diary.tasks).results == [42]
    assert diary.ran == ["heavy"]


def test_a_batch_is_closed_and_its_callbacks_run_once(diary: Diary, connection: Connection) -> None:
    @diary.tasks.task("told")
    def told(ctx: Context, what: str) -> tuple[str, int | None]:
        return what, ctx.batch_id

    batch = enqueue_batch(
        connection,
        [diary.note.job(1), diary.note.job(2)],
        on_success=told.job("success"),
        on_complete=told.job("complete"),
        on_failure=told.job("failure"),
    )
    done = drain(connection, diary.tasks)
    again = drain(connection, diary.tasks, until=DAY)

    assert done.results[:2] == [1, 2]
    assert sorted(done.results[2:]) == [["complete", batch.id], ["success", batch.id]]
    assert len(again) == 0
    assert batch_status(connection, batch.id).completed_at is not None


def test_hooks_middleware_and_the_lifespan_are_those_of_a_worker(connection: Connection) -> None:
    seen: list[Any] = []

    @asynccontextmanager
    async def lifespan() -> Any:
        seen.append("up")
        yield {"pool": "opened"}
        seen.append("down")

    tasks = Tasks(lifespan=lifespan)

    @tasks.task("greet")
    def greet(ctx: Context) -> Any:
        seen.append(ctx.state)

    @tasks.middleware
    async def around(ctx: Context, call_next: Any) -> Any:
        seen.append("before")
        return await call_next()

    @tasks.on_succeeded
    def hook(event: JobEvent) -> None:
        seen.append(event.job_name)

    enqueue(connection, greet.job())
    drain(connection, tasks)
    enqueue(connection, greet.job())
    drain(connection, tasks, state="mine")

    assert seen == ["up", "before", {"pool": "opened"}, "greet", "down", "before", "mine", "greet"]


def test_what_a_job_says_of_itself_is_kept_and_a_checkpoint_handed_on(
    diary: Diary, connection: Connection
) -> None:
    @diary.tasks.task("import", max_attempts=2, backoff=Fixed(10), heartbeat="manual")
    def import_rows(ctx: Context) -> Any:
        begin = ctx.last_checkpoint or 0
        ctx.log.info("begins at %d", begin)
        ctx.progress(begin, 10)
        ctx.extend(30)
        if ctx.run == 1:
            ctx.checkpoint(5)
            raise ConnectionError
        return begin

    @diary.tasks.task("import-here", transactional=True)
    def import_here(ctx: Context) -> None:
        ctx.log.info("in a transaction")

    job = enqueue(connection, import_rows.job())
    here = enqueue(connection, import_here.job())
    done = drain(connection, diary.tasks, until=HOUR, raise_errors=False)

    assert done.results == [None, 5]
    lines = connection.execute(
        "SELECT job_id, attempt, message FROM pgqueue.job_logs ORDER BY job_id, attempt, n"
    ).fetchall()
    assert lines == [
        (job.id, 1, "begins at 0"),
        (job.id, 2, "begins at 5"),
        (here.id, 1, "in a transaction"),
    ]


# Transactions in the test's transaction


class Base(DeclarativeBase):
    pass


class Row(Base):
    __tablename__ = "drained_rows"

    id: Mapped[int] = mapped_column(primary_key=True)


def test_a_session_forgets_what_a_failed_handler_did(diary: Diary, shared_dsn: str) -> None:
    @diary.tasks.task("add", transactional=True, max_attempts=2, backoff=Fixed(5))
    def add(ctx: Context) -> int:
        ctx.session.add(Row(id=1))
        ctx.session.flush()
        if ctx.run == 1:
            raise ConnectionError
        return len(ctx.session.query(Row).all())

    engine = create_engine(url_of(shared_dsn))
    with engine.connect() as outer, outer.begin() as transaction:
        Base.metadata.create_all(outer)
        with Session(outer, join_transaction_mode="create_savepoint") as session:
            enqueue(session, add.job())
            session.commit()  # as the application does; the test's transaction stays open

            done = drain(session, diary.tasks, until=HOUR, raise_errors=False)

            assert [attempt.outcome for attempt in done.attempts] == ["retried", "succeeded"]
            assert done.results == [1]
            assert session.query(Row).count() == 1
        transaction.rollback()
    engine.dispose()


def test_a_transaction_that_a_handler_opens_itself_is_joined_as_well(
    diary: Diary, connection: Connection
) -> None:
    @diary.tasks.task("partly")
    def partly(ctx: Context) -> None:
        with ctx.transaction() as inner:
            inner.execute("INSERT INTO pgqueue.queues (name) VALUES ('partly')")
            ctx.result = "half"

    enqueue(connection, partly.job())

    assert drain(connection, diary.tasks).results == ["half"]
    assert connection.execute("SELECT name FROM pgqueue.queues").fetchall() == [("partly",)]


def test_a_result_that_cannot_be_stored_undoes_the_handlers_work(
    diary: Diary, connection: Connection
) -> None:
    @diary.tasks.task("odd", transactional=True, max_attempts=1)
    def odd(ctx: Context) -> object:
        ctx.connection.execute("INSERT INTO pgqueue.queues (name) VALUES ('odd')")
        return object()

    enqueue(connection, odd.job())
    done = drain(connection, diary.tasks, raise_errors=False)

    assert done.dead == 1
    assert connection.execute("SELECT name FROM pgqueue.queues").fetchall() == []


def test_a_handler_that_spoils_the_tests_transaction_is_named_as_the_cause(
    diary: Diary, connection: Connection
) -> None:
    @diary.tasks.task("spoil")
    def spoil() -> None:
        connection.execute("SELECT 1 / 0")

    enqueue(connection, spoil.job())
    with pytest.raises(UnsupportedConnection, match="transaction has failed") as caught:
        drain(connection, diary.tasks, raise_errors=False)
    assert isinstance(caught.value.__cause__, psycopg.errors.DivisionByZero)


def test_a_scoped_session_is_that_of_the_thread_that_drains(diary: Diary, shared_dsn: str) -> None:
    @diary.tasks.task("whose", transactional=True)
    def whose(ctx: Context) -> bool:
        return ctx.session is mine

    engine = create_engine(url_of(shared_dsn))
    session = scoped_session(sessionmaker(engine))
    mine = session()
    enqueue(session, whose.job())

    assert drain(session, diary.tasks).results == [True]
    session.remove()
    engine.dispose()


def test_a_lease_that_a_handler_says_is_lost_leaves_the_job_as_it_is(
    diary: Diary, connection: Connection
) -> None:
    @diary.tasks.task("lose")
    def lose(ctx: Context) -> None:
        raise LeaseLost(ctx.id, ctx.attempt)

    job = enqueue(connection, lose.job())

    assert [each.outcome for each in drain(connection, diary.tasks).attempts] == ["lost"]
    assert job_row(connection, job.id).state == "running"


def test_a_coroutines_transaction_wants_an_asynchronous_connection(
    diary: Diary, connection: Connection
) -> None:
    @diary.tasks.task("wrong", transactional=True)
    async def wrong(ctx: Context) -> None: ...

    enqueue(connection, wrong.job())
    with pytest.raises(PgqueueError, match="wants drain_async"):
        drain(connection, diary.tasks)


def test_a_drain_leaves_no_job_current_behind(diary: Diary, shared_dsn: str) -> None:
    async def run() -> None:
        async with await psycopg.AsyncConnection.connect(shared_dsn) as connection:
            await enqueue_async(connection, diary.note.job(1))
            await drain_async(connection, diary.tasks)
            with pytest.raises(PgqueueError, match="no job is running"):
                current_job()
            await connection.rollback()

    asyncio.run(run())


def test_a_drain_on_a_running_event_loop_does_not_mind(
    diary: Diary, connection: Connection
) -> None:
    @diary.tasks.task("coroutine")
    async def coroutine() -> str:
        await asyncio.sleep(0)
        return "ran"

    enqueue(connection, coroutine.job())

    async def run() -> Drained:
        return drain(connection, diary.tasks)

    assert asyncio.run(run()).results == ["ran"]


def test_a_drain_that_is_cancelled_ends(diary: Diary, shared_dsn: str) -> None:
    @diary.tasks.task("long")
    async def long() -> None:
        await asyncio.sleep(60)

    async def run() -> None:
        async with await psycopg.AsyncConnection.connect(shared_dsn) as connection:
            await enqueue_async(connection, long.job())
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await drain_async(connection, diary.tasks)
            await connection.rollback()

    asyncio.run(run())


# The clock


def test_nobody_sleeps_and_the_systems_clock_is_left_alone(
    diary: Diary, connection: Connection
) -> None:
    enqueue(connection, diary.note.job("next year"), delay=timedelta(days=365))
    began, wall = time.monotonic(), datetime.now(UTC)

    done = drain(connection, diary.tasks, until=timedelta(days=400))

    assert done.results == ["next year"]
    assert time.monotonic() - began < MINUTE
    assert datetime.now(UTC) - wall < timedelta(minutes=1)
    assert done.now is not None
    assert timedelta(days=399) < done.now - wall < timedelta(days=401)


def test_time_stands_still_while_something_runs(diary: Diary, connection: Connection) -> None:
    @diary.tasks.task("slow")
    def slow() -> None:
        time.sleep(0.5)

    enqueue_many(connection, [slow.job().options(delay=delay) for delay in (0.5, 0.6, 0.7, 60)])

    done = drain(connection, diary.tasks, until=timedelta(seconds=30))

    jobs = {job.id: job.run_at for job in enqueued_jobs(connection, slow)}
    assert [attempt.at for attempt in done.attempts] == [jobs[each.id] for each in done.attempts]
    assert len(done) == 3


def test_delays_moments_and_ticks_come_in_the_order_of_their_times(
    diary: Diary, connection: Connection
) -> None:
    @diary.tasks.task("tick")
    def tick(ctx: Context) -> None:
        assert ctx.scheduled_for is not None
        diary.ran.append(ctx.scheduled_for.strftime("%H:%M"))

    start = now(connection)
    noon = (start + DAY).replace(hour=12, minute=0, second=0, microsecond=0)
    schedule(
        connection,
        "hourly",
        tick.job(),
        cron="0 * * * *",
        start_at=noon,
        end_at=noon + 2 * HOUR,
    )
    enqueue(connection, diary.note.job("half past"), run_at=noon + HOUR / 2)
    enqueue(connection, diary.note.job("half past one"), delay=noon + 1.5 * HOUR - start)
    enqueue(connection, diary.note.job("long before"), delay=60)

    drain(connection, diary.tasks, until=3 * DAY)

    assert diary.ran == ["long before", "12:00", "half past", "13:00", "half past one", "14:00"]


def now(connection: Connection) -> datetime:
    row = connection.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None
    moment: datetime = row[0]
    return moment


def test_declared_schedules_tick_at_their_times_by_the_clocks_of_their_zone(
    diary: Diary, connection: Connection
) -> None:
    @diary.tasks.cron("0 9 * * *", tz="Asia/Tokyo")
    @diary.tasks.task("report")
    def report(ctx: Context) -> str:
        assert ctx.scheduled_for is not None
        return ctx.scheduled_for.isoformat(timespec="minutes")

    done = drain(connection, diary.tasks, until=7 * DAY)

    days = [datetime.fromisoformat(result) for result in done.results]
    assert len(days) == 7
    assert [day.strftime("%H:%M%z") for day in days] == ["09:00+0900"] * 7
    assert {later - earlier for earlier, later in pairwise(days)} == {DAY}
    assert [attempt.at for attempt in done.attempts] == days


def test_nothing_ticks_unless_time_goes_on(diary: Diary, connection: Connection) -> None:
    @diary.tasks.cron(every=60)
    @diary.tasks.task("often")
    def often() -> None: ...

    assert len(drain(connection, diary.tasks)) == 0
    assert connection.execute("SELECT count(*) FROM pgqueue.schedules").fetchone() == (0,)
    assert len(drain(connection, diary.tasks, until=HOUR)) == 60


def test_a_tick_that_waits_for_the_job_before_it_runs_when_that_is_over(
    diary: Diary, connection: Connection
) -> None:
    @diary.tasks.task("often", max_attempts=2, backoff=Fixed(90))
    def often(ctx: Context) -> int:
        assert ctx.scheduled_for is not None
        if ctx.scheduled_for == first and ctx.run == 1:
            raise ConnectionError
        return int((ctx.scheduled_for - first).total_seconds())

    start = now(connection)
    first = (start + HOUR).replace(minute=0, second=0, microsecond=0)
    schedule(
        connection,
        "often",
        often.job(),
        every=60,
        start_at=first,
        end_at=first + timedelta(minutes=3),
        overlap="queue_one",
    )
    done = drain(connection, diary.tasks, until=2 * HOUR, raise_errors=False)

    # The second tick waits for the first one's retry, at 90 s; those at 120 and 180 s are free.
    assert done.results == [0, 60, 120, 180]
    assert [(attempt.at - first).total_seconds() for attempt in done.attempts] == [
        0,
        90,
        90,
        120,
        180,
    ]


def test_the_next_drain_begins_where_the_last_one_ended(
    diary: Diary, connection: Connection
) -> None:
    drain(connection, diary.tasks, until=DAY)
    enqueue(connection, diary.note.job("an hour later"), delay=3600)

    assert len(drain(connection, diary.tasks, until=HOUR / 2)) == 0
    done = drain(connection, diary.tasks, until=HOUR)

    (attempt,) = done.attempts
    (job,) = enqueued_jobs(connection, diary.note)
    assert attempt.at == job.created_at + HOUR
    assert done.now == job.created_at + 1.5 * HOUR


def test_what_the_application_asks_of_the_clock_is_answered_alike(
    diary: Diary, connection: Connection
) -> None:
    @diary.tasks.task("ask", transactional=True)
    def ask(ctx: Context) -> Any:
        return ctx.connection.execute("SELECT now(), clock_timestamp()").fetchone()

    before = now(connection)
    enqueue(connection, ask.job(), delay=86400)
    done = drain(connection, diary.tasks, until=2 * DAY)

    (attempt,) = done.attempts
    assert attempt.result == [attempt.at, attempt.at]
    assert attempt.at - before >= DAY
    assert now(connection) == done.now


def test_rolled_back_to_a_savepoint_it_is_as_early_as_before(
    diary: Diary, connection: Connection
) -> None:
    connection.execute("SAVEPOINT early")
    before = now(connection)
    drain(connection, diary.tasks, until=DAY)
    assert now(connection) - before >= DAY

    connection.execute("ROLLBACK TO SAVEPOINT early")
    assert now(connection) - before < HOUR
    drain(connection, diary.tasks, until=HOUR)
    assert now(connection) - before >= HOUR
    connection.rollback()
    assert now(connection) - before < HOUR


def test_real_time_goes_on_as_well(diary: Diary, connection: Connection) -> None:
    drain(connection, diary.tasks, until=timedelta(0))
    enqueue(connection, diary.note.job("soon"), delay=0.2)
    assert len(drain(connection, diary.tasks)) == 0
    time.sleep(0.21)

    assert drain(connection, diary.tasks, until=timedelta(0)).results == ["soon"]


@pytest.mark.parametrize("path", ["public", "", "pg_catalog, public", '"$user", pgqueue'])
def test_whatever_the_search_path_is_the_clock_is_found_and_tables_go_where_they_went(
    diary: Diary, connection: Connection, path: str
) -> None:
    connection.execute("SELECT set_config('search_path', %s, false)", [path])
    enqueue(connection, diary.note.job("tomorrow"), delay=86400)
    before = connection.execute("SELECT current_schema()").fetchone()

    assert drain(connection, diary.tasks, until=2 * DAY).results == ["tomorrow"]
    if path not in ("", "pg_catalog, public"):
        assert connection.execute("SELECT current_schema()").fetchone() == before
    connection.rollback()


def test_tests_side_by_side_do_not_wait_for_each_other(
    connection: Connection, shared_dsn: str
) -> None:
    first, second = Diary(), Diary()

    @first.tasks.task("first")
    def first_task() -> str:
        return "first"

    @second.tasks.task("second")
    def second_task() -> str:
        return "second"

    del first.tasks._by_name["note"], second.tasks._by_name["note"]
    with psycopg.connect(shared_dsn) as other:
        other.execute("SET LOCAL lock_timeout = '5s'")
        enqueue(connection, first_task.job(), delay=60)
        enqueue(other, second_task.job(), delay=60)

        assert drain(connection, first.tasks, until=HOUR).results == ["first"]
        assert drain(other, second.tasks, until=HOUR).results == ["second"]
        other.rollback()


def test_tasks_that_are_written_down_keep_no_other_test_waiting(diary: Diary, dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        run(connection, upkeep.sync_tasks([diary.note.defaults], diary.tasks.targets))
    with psycopg.connect(dsn) as one, psycopg.connect(dsn) as other:
        for connection in (one, other):
            connection.execute("SET LOCAL lock_timeout = '5s'")
            enqueue(connection, diary.note.job("hello"), delay=60)
            assert drain(connection, diary.tasks, until=HOUR).results == ["hello"]
        one.rollback()
        other.rollback()


@pytest.mark.parametrize(
    "changed", ["queue = 'x'", "timeout_ms = 5", "keep = '3 days'", "target_ms = 1"]
)
def test_a_task_that_is_written_down_otherwise_is_written_down_anew(
    diary: Diary, connection: Connection, changed: str
) -> None:
    drain(connection, diary.tasks)
    declared = [diary.note.defaults]
    targets = diary.tasks.targets
    assert run(connection, upkeep.sync_changed_tasks(declared, targets)) == 0
    connection.execute(f"UPDATE pgqueue.tasks SET {changed}")  # noqa: S608  our own words

    assert run(connection, upkeep.sync_changed_tasks(declared, targets)) == 1
    assert run(connection, upkeep.sync_changed_tasks(declared, targets)) == 0


def test_a_role_that_may_make_no_schema_can_drain_but_not_move_the_clock(
    diary: Diary, connection: Connection
) -> None:
    connection.execute("CREATE ROLE drained_tester")
    connection.execute("GRANT USAGE ON SCHEMA pgqueue TO drained_tester")
    connection.execute("GRANT ALL ON ALL TABLES IN SCHEMA pgqueue TO drained_tester")
    connection.execute("GRANT ALL ON ALL SEQUENCES IN SCHEMA pgqueue TO drained_tester")
    connection.execute("SET ROLE drained_tester")
    enqueue(connection, diary.note.job("now"))

    assert drain(connection, diary.tasks).results == ["now"]
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="can stop the clock"):
        drain(connection, diary.tasks, until=HOUR)


def test_assertions_see_what_a_drain_has_run(diary: Diary, connection: Connection) -> None:
    enqueue(connection, diary.note.job("hello"))
    drain(connection, diary.tasks)

    assert_enqueued(connection, diary.note, containing={"entry": "hello"}, state="succeeded")
    with pytest.raises(AssertionError):
        assert_not_enqueued(connection, diary.note)
