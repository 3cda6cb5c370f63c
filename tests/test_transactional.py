"""A transactional handler's work and its job's completion commit together, or not at all."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from datetime import timedelta
from typing import Any, NamedTuple

import psycopg
import pytest
from psycopg import IsolationLevel
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker
from sqlalchemy.pool import NullPool

from pgqueue import Context, Fixed, Tasks, current_job, enqueue
from pgqueue.storage import jobs, verbs
from pgqueue.storage.drivers import run
from pgqueue.testing.databases import Databases
from pgqueue.worker import Settings, Worker
from tests.postgres import eventually, url_of
from tests.proxy import Loss, LossyProxy
from tests.rows import attempt_rows, job_row
from tests.transactions import (
    READ_COMMITTED,
    REPEATABLE_READ,
    SERIALIZABLE,
    WAYS,
    Factory,
    Way,
    execute,
    execute_sync,
    psycopg_connections,
)

Connection = psycopg.Connection[Any]
Body = Callable[[Context], Any]
LEVELS = [READ_COMMITTED, REPEATABLE_READ, SERIALIZABLE]

every_way = pytest.mark.parametrize("way", WAYS, ids=str)
every_level = pytest.mark.parametrize("level", LEVELS, ids=lambda level: level.name.lower())
one_of_each = pytest.mark.parametrize("way", WAYS[:2], ids=str)
snapshots = pytest.mark.parametrize(
    "level", [REPEATABLE_READ, SERIALIZABLE], ids=lambda level: level.name.lower()
)

PUT = "INSERT INTO effects (job_id) VALUES ({})"


@pytest.fixture
def outside(dsn: str) -> Iterator[Connection]:
    with observe(dsn) as connection:
        yield connection


@contextmanager
def observe(dsn: str) -> Iterator[Connection]:
    """Sees what was committed, and makes the table that handlers write to."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE effects (job_id bigint)")
        connection.execute("CREATE TABLE counter AS SELECT 0 AS n")
        yield connection


class Scene:
    """A worker whose handlers write their job's id into ``effects``, then do as the test wants."""

    def __init__(self, dsn: str, outside: Connection, way: Way, factory: Factory) -> None:
        self.dsn = dsn
        self.outside = outside
        self.way = way
        self.tasks = Tasks(transaction=factory)
        self.runs: list[int] = []
        """The attempt of each run of a handler."""

    def enqueue(self, body: Body = lambda _: None, **options: Any) -> int:
        """Enqueue a job of a transactional task that runs *body* after its write."""
        options = {"max_attempts": 2, "backoff": Fixed(0), "transactional": True, **options}
        name = f"task {len(self.tasks.names)}"

        if self.way.is_async:

            @self.tasks.task(name, **options)
            async def handler(ctx: Context) -> Any:
                self.runs.append(ctx.attempt)
                await execute(ctx.connection, PUT.format(ctx.id))
                return await asyncio.to_thread(body, ctx)

            return enqueue(self.outside, handler.job()).id

        @self.tasks.task(name, **options)
        def sync_handler(ctx: Context) -> Any:
            self.runs.append(ctx.attempt)
            execute_sync(ctx.connection, PUT.format(ctx.id))
            return body(ctx)

        return enqueue(self.outside, sync_handler.job()).id

    def state(self, job_id: int) -> str:
        return str(job_row(self.outside, job_id).state)

    def effects(self) -> list[int]:
        return [row[0] for row in self.outside.execute("SELECT job_id FROM effects ORDER BY 1")]

    def attempts(self, job_id: int) -> list[str]:
        return [attempt.outcome for attempt in attempt_rows(self.outside, job_id)]

    async def work(self, *job_ids: int, until: str = "succeeded", **settings: Any) -> None:
        """Run a worker until these jobs are in the state that is waited for."""
        fast = {
            "queues": {"default": 50},
            "lease": timedelta(seconds=2),
            "rescue_every": timedelta(seconds=0.5),
            "poll": timedelta(seconds=0.1),
            "grace": timedelta(0),
        }
        async with (
            asyncio.timeout(120),
            Worker(self.tasks, self.dsn, Settings(**{**fast, **settings})),
        ):
            while any(self.state(job_id) != until for job_id in job_ids):
                await asyncio.sleep(0.01)


def play(
    dsn: str,
    outside: Connection,
    way: Way,
    level: IsolationLevel,
    script: Callable[[Scene], Coroutine[Any, Any, None]],
) -> Scene:
    """Run *script* on a scene of this way and level; return the scene."""

    async def main() -> Scene:
        async with way.open(dsn, level) as factory:
            scene = Scene(dsn, outside, way, factory)
            await script(scene)
        return scene

    return asyncio.run(main())


# Together


@every_way
@every_level
def test_work_and_completion_commit_together(
    dsn: str, outside: Connection, way: Way, level: IsolationLevel
) -> None:
    seen: list[Any] = []

    def look(ctx: Context) -> dict[str, int]:
        seen.append((outside.execute("SELECT count(*) FROM effects").fetchone(), ctx.id))
        return {"answer": 42}

    async def script(scene: Scene) -> None:
        job_id = scene.enqueue(look)
        await scene.work(job_id)
        row = job_row(outside, job_id)
        assert scene.effects() == [job_id]
        assert seen == [((0,), job_id)]
        assert (row.state, row.result, row.attempt, row.failures) == (
            "succeeded", {"answer": 42}, 1, 0,
        )  # fmt: skip
        together = outside.execute(
            "SELECT effect.xmin = job.xmin FROM effects AS effect, pgqueue.finished_jobs AS job"
        ).fetchone()
        assert together == (True,)

    play(dsn, outside, way, level, script)


@every_way
def test_an_error_takes_the_work_back_and_the_job_is_tried_again(
    dsn: str, outside: Connection, way: Way
) -> None:
    def fail_first(ctx: Context) -> None:
        if ctx.run == 1:
            raise ValueError("no good")

    async def script(scene: Scene) -> None:
        job_id = scene.enqueue(fail_first)
        await scene.work(job_id)
        assert scene.runs == [1, 2]
        assert scene.effects() == [job_id]
        assert scene.attempts(job_id) == ["failed"]
        assert job_row(outside, job_id).failures == 1

    play(dsn, outside, way, READ_COMMITTED, script)


@one_of_each
@every_level
def test_a_result_that_cannot_be_stored_takes_the_work_back(
    dsn: str, outside: Connection, way: Way, level: IsolationLevel
) -> None:
    async def script(scene: Scene) -> None:
        job_id = scene.enqueue(lambda _: {"handle": object()}, max_attempts=1)
        await scene.work(job_id, until="dead")
        assert scene.effects() == []
        assert "result.handle" in job_row(outside, job_id).error

    play(dsn, outside, way, level, script)


@every_way
def test_a_constraint_that_only_the_commit_checks_takes_the_work_back(
    dsn: str, outside: Connection, way: Way
) -> None:
    outside.execute("ALTER TABLE effects ADD UNIQUE (job_id) DEFERRABLE INITIALLY DEFERRED")

    async def script(scene: Scene) -> None:
        job_id = scene.enqueue(max_attempts=1)
        outside.execute(PUT.format(job_id))
        await scene.work(job_id, until="dead")
        assert scene.effects() == [job_id]
        row = job_row(outside, job_id)
        assert row.reason == "attempts_exhausted"
        assert "duplicate key" in row.error
        assert scene.runs == [1]

    play(dsn, outside, way, READ_COMMITTED, script)


@one_of_each
def test_a_swallowed_database_error_is_no_success(dsn: str, outside: Connection, way: Way) -> None:
    """The transaction has failed, whatever the handler thinks."""

    async def script(scene: Scene) -> None:
        if way.is_async:

            @scene.tasks.task("swallow", transactional=True, max_attempts=1)
            async def swallow(ctx: Context) -> None:
                await execute(ctx.connection, PUT.format(ctx.id))
                with suppress(psycopg.Error):
                    await execute(ctx.connection, "SELECT 1 / 0")
        else:

            @scene.tasks.task("swallow", transactional=True, max_attempts=1)
            def swallow(ctx: Context) -> None:
                execute_sync(ctx.connection, PUT.format(ctx.id))
                with suppress(psycopg.Error):
                    execute_sync(ctx.connection, "SELECT 1 / 0")

        job_id = enqueue(outside, swallow.job()).id
        await scene.work(job_id, until="dead")
        assert scene.effects() == []
        assert "its transaction has failed" in job_row(outside, job_id).error

    play(dsn, outside, way, READ_COMMITTED, script)


class Base(DeclarativeBase):
    pass


class Effect(Base):
    __tablename__ = "effects"
    job_id: Mapped[int] = mapped_column(primary_key=True)


def test_what_a_session_has_not_flushed_yet_is_part_of_the_work(
    dsn: str, outside: Connection
) -> None:
    outside.execute("ALTER TABLE effects ADD PRIMARY KEY (job_id)")
    engine = create_engine(url_of(dsn), poolclass=NullPool)
    scene = Scene(dsn, outside, WAYS[0], sessionmaker(engine))

    @scene.tasks.task("add", transactional=True, max_attempts=1)
    def add(ctx: Context, job_id: int | None = None) -> None:
        ctx.session.add(Effect(job_id=job_id or ctx.id))

    good = enqueue(outside, add.job()).id
    asyncio.run(scene.work(good))
    bad = enqueue(outside, add.job(good)).id
    asyncio.run(scene.work(bad, until="dead"))

    assert scene.effects() == [good]
    assert "duplicate key" in job_row(outside, bad).error
    engine.dispose()


# Longer than a lease


class Long(NamedTuple):
    """What a handler of two leases and a half came to."""

    row: Any
    effects: int
    attempts: list[str]
    runs: int


@pytest.fixture(scope="module")
def long_handlers(server: Databases) -> Iterator[dict[tuple[str, IsolationLevel], Long]]:
    """One handler of each way at each level, all beside each other, for 5 s under leases of 2 s."""
    dsn = server.create_migrated()
    with observe(dsn) as outside:
        yield asyncio.run(run_long_handlers(dsn, outside))
    server.drop(dsn)


async def run_long_handlers(
    dsn: str, outside: Connection
) -> dict[tuple[str, IsolationLevel], Long]:
    factories: dict[tuple[str, str], Factory] = {}

    def factory() -> Any:
        said = current_job().metadata
        return factories[said["way"], said["level"]]()

    tasks = Tasks(transaction=factory)
    runs: list[int] = []

    @tasks.task("work", transactional=True, timeout=None)
    def work(ctx: Context) -> int:
        runs.append(ctx.id)
        execute_sync(ctx.connection, PUT.format(ctx.id))
        time.sleep(5)
        return ctx.id

    @tasks.task("work_async", transactional=True, timeout=None)
    async def work_async(ctx: Context) -> int:
        runs.append(ctx.id)
        await execute(ctx.connection, PUT.format(ctx.id))
        await asyncio.sleep(5)
        return ctx.id

    async with AsyncExitStack() as stack:
        job_ids: dict[tuple[str, IsolationLevel], int] = {}
        for way in WAYS:
            for level in LEVELS:
                opened = await stack.enter_async_context(way.open(dsn, level))
                factories[way.name, level.name] = opened
                job = (work_async if way.is_async else work).job()
                said = {"way": way.name, "level": level.name}
                job_ids[way.name, level] = enqueue(outside, job, metadata=said).id
        scene = Scene(dsn, outside, WAYS[0], factory)
        scene.tasks = tasks
        await scene.work(*job_ids.values())
    return {
        key: Long(
            job_row(outside, job_id),
            scene.effects().count(job_id),
            scene.attempts(job_id),
            runs.count(job_id),
        )
        for key, job_id in job_ids.items()
    }


@every_way
@every_level
def test_a_handler_longer_than_two_leases_commits_once(
    long_handlers: dict[tuple[str, IsolationLevel], Long], way: Way, level: IsolationLevel
) -> None:
    long = long_handlers[way.name, level]

    assert long.effects == 1
    assert (long.row.state, long.row.result) == ("succeeded", long.row.id)
    assert long.row.finished_at - long.row.started_at >= timedelta(seconds=5)
    if level is not SERIALIZABLE:
        # The serializable ones run beside each other and conflict as often as the server finds; in
        # the moment between a rollback and the next lock a rescuer may even come first.
        assert (long.row.failures, long.attempts, long.runs) == (0, [], 1)
    else:
        assert set(long.attempts) <= {"failed", "lost"}
        assert long.row.failures == long.attempts.count("failed")


# Conflicts


def collide(outside: Connection, scene: Scene, *, times: int) -> Body:
    """Have somebody else write what this transaction is about to write."""

    def body(ctx: Context) -> str:
        if len(scene.runs) <= times:
            outside.execute("UPDATE counter SET n = n + 1")
        return "UPDATE counter SET n = n + 100"

    return body


def enqueue_colliding(scene: Scene, *, times: int, **options: Any) -> int:
    body = collide(scene.outside, scene, times=times)

    if scene.way.is_async:

        @scene.tasks.task("count", transactional=True, **options)
        async def count(ctx: Context) -> None:
            scene.runs.append(ctx.attempt)
            await execute(ctx.connection, PUT.format(ctx.id))
            await execute(ctx.connection, body(ctx))

        return enqueue(scene.outside, count.job()).id

    @scene.tasks.task("count", transactional=True, **options)
    def count_sync(ctx: Context) -> None:
        scene.runs.append(ctx.attempt)
        execute_sync(ctx.connection, PUT.format(ctx.id))
        execute_sync(ctx.connection, body(ctx))

    return enqueue(scene.outside, count_sync.job()).id


@every_way
def test_a_serialization_failure_is_tried_again_uncharged(
    dsn: str, outside: Connection, way: Way
) -> None:
    async def script(scene: Scene) -> None:
        job_id = enqueue_colliding(scene, times=3, max_attempts=1)
        await scene.work(job_id)
        row = job_row(outside, job_id)
        assert (row.attempt, row.failures) == (1, 0)
        assert scene.runs == [1] * 4
        assert scene.attempts(job_id) == []
        assert scene.effects() == [job_id]
        assert outside.execute("SELECT n FROM counter").fetchone() == (103,)

    play(dsn, outside, way, REPEATABLE_READ, script)


@one_of_each
@snapshots
def test_from_the_fourth_on_a_serialization_failure_is_charged(
    dsn: str, outside: Connection, way: Way, level: IsolationLevel
) -> None:
    async def script(scene: Scene) -> None:
        job_id = enqueue_colliding(scene, times=99, max_attempts=1)
        await scene.work(job_id, until="dead")
        row = job_row(outside, job_id)
        assert scene.runs == [1] * 4
        assert scene.attempts(job_id) == ["failed"]
        assert (row.reason, row.failures) == ("attempts_exhausted", 1)
        assert "SerializationFailure" in row.error_type or "40001" in row.error
        assert scene.effects() == []

    play(dsn, outside, way, level, script)


@one_of_each
@snapshots
def test_a_renewal_in_the_way_of_the_lock_costs_no_attempt(
    dsn: str, outside: Connection, way: Way, level: IsolationLevel
) -> None:
    """The handler has not run yet: the lock is tried again at once."""
    opened: list[int] = []

    def renew_when_waited_for() -> None:
        with psycopg.connect(dsn) as renewal:
            renewal.execute("UPDATE pgqueue.jobs SET lease_until = lease_until + interval '1 s'")
            ready.set()
            eventually(lambda: waits_for(outside, renewal))

    async def script(scene: Scene) -> None:
        inner = scene.tasks.transaction
        assert inner

        def factory() -> Any:
            opened.append(1)
            if len(opened) == 2:
                renewal = threading.Thread(target=renew_when_waited_for)
                renewal.start()
                ready.wait(20)
            return inner()

        scene.tasks.transaction = factory
        job_id = scene.enqueue()
        await scene.work(job_id, lease=timedelta(seconds=30))
        assert len(opened) == 3, "once to look whose database it is, then twice to lock"
        assert scene.runs == [1]
        assert scene.attempts(job_id) == []

    ready = threading.Event()
    play(dsn, outside, way, level, script)


def waits_for(outside: Connection, blocking: Connection) -> bool:
    """Whether some session waits for a lock that *blocking* has."""
    row = outside.execute(
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid)))",
        [blocking.info.backend_pid],
    ).fetchone()
    return row == (True,)


def test_two_handlers_that_skew_each_other_both_succeed_in_some_order(
    dsn: str, outside: Connection
) -> None:
    """At SERIALIZABLE one of them is refused, as late as at its COMMIT."""
    barrier = threading.Barrier(2)
    met: set[int] = set()

    async def script(scene: Scene) -> None:
        @scene.tasks.task("skew", transactional=True, max_attempts=1)
        def skew(ctx: Context) -> int:
            (total,) = ctx.connection.execute("SELECT count(*) FROM effects").fetchone()
            if ctx.id not in met:
                barrier.wait(30)
            ctx.connection.execute(PUT.format(ctx.id))
            if ctx.id not in met:
                barrier.wait(30)
                met.add(ctx.id)
            return int(total)

        ids = [enqueue(outside, skew.job()).id for _ in range(2)]
        await scene.work(*ids)
        assert scene.effects() == ids
        assert sorted(job_row(outside, job_id).result for job_id in ids) == [0, 1]

    play(dsn, outside, WAYS[0], SERIALIZABLE, script)


# Wrong connections


@every_way
def test_another_database_is_refused_and_nothing_done(
    dsn: str, empty_dsn: str, outside: Connection, way: Way
) -> None:
    with observe(empty_dsn) as elsewhere:

        async def main() -> Scene:
            async with way.open(empty_dsn, READ_COMMITTED) as factory:
                scene = Scene(dsn, outside, way, factory)
                job_id = scene.enqueue(max_attempts=1)
                await scene.work(job_id, until="dead")
                row = job_row(outside, job_id)
                assert row.error_type == "pgqueue.errors.OtherDatabase"
                assert "another database than the worker's" in row.error
                assert scene.runs == []
                return scene

        scene = asyncio.run(main())
        assert scene.effects() == []
        assert elsewhere.execute("SELECT count(*) FROM effects").fetchone() == (0,)


@asynccontextmanager
async def autocommit_of(connection: Any) -> Any:
    async with connection as opened:
        await opened.set_autocommit(True)
        yield opened


@one_of_each
def test_a_connection_with_autocommit_is_refused_and_nothing_done(
    dsn: str, outside: Connection, way: Way
) -> None:
    async def script(scene: Scene) -> None:
        if way.is_async:
            inner = scene.tasks.transaction
            assert inner
            scene.tasks.transaction = lambda: autocommit_of(inner())
        else:
            scene.tasks.transaction = lambda: psycopg.connect(dsn, autocommit=True)
        job_id = scene.enqueue(max_attempts=1)
        await scene.work(job_id, until="dead")
        row = job_row(outside, job_id)
        assert row.error_type == "pgqueue.errors.UnsupportedConnection"
        assert "give one without autocommit" in row.error
        assert scene.runs == []
        assert scene.effects() == []

    play(dsn, outside, way, READ_COMMITTED, script)


def test_a_session_with_autocommit_is_refused_and_nothing_done(
    dsn: str, outside: Connection
) -> None:
    engine = create_engine(url_of(dsn), poolclass=NullPool, isolation_level="AUTOCOMMIT")
    scene = Scene(dsn, outside, WAYS[0], sessionmaker(engine))
    job_id = scene.enqueue(max_attempts=1)
    asyncio.run(scene.work(job_id, until="dead"))

    assert "give one without autocommit" in job_row(outside, job_id).error
    assert scene.effects() == []
    engine.dispose()


def test_without_a_factory_a_transactional_task_says_what_is_missing(
    dsn: str, outside: Connection
) -> None:
    scene = Scene(dsn, outside, WAYS[0], lambda: None)
    scene.tasks.transaction = None
    job_id = scene.enqueue(max_attempts=1)
    asyncio.run(scene.work(job_id, until="dead"))

    assert "has no database to open a transaction on; give it one" in job_row(outside, job_id).error
    assert scene.runs == []


@pytest.mark.parametrize("asynchronous", [False, True], ids=["plain def", "async def"])
def test_a_factory_of_the_wrong_colour_is_told_so(
    dsn: str, outside: Connection, asynchronous: bool
) -> None:
    """Sync connections for an async handler, and the other way round."""
    sessions = {way.is_async: way for way in WAYS if "session" in way.name}

    async def main() -> None:
        async with sessions[not asynchronous].open(dsn, READ_COMMITTED) as factory:
            scene = Scene(dsn, outside, sessions[asynchronous], factory)
            job_id = scene.enqueue(max_attempts=1)
            await scene.work(job_id, until="dead")
            error = job_row(outside, job_id).error
            assert "an async def wants asynchronous connections or sessions" in error
            assert scene.runs == []

    asyncio.run(main())


# Taken away meanwhile


def steal(outside: Connection, job_id: int) -> None:
    """Let the lease run out and the job be rescued, in one transaction: no renewal in between."""
    with outside.transaction():
        outside.execute(
            "UPDATE pgqueue.jobs SET lease_until = now() - interval '1s' WHERE id = %s", [job_id]
        )
        assert run(outside, jobs.rescue(limit=10)).total == 1


@every_way
def test_work_for_a_job_that_was_rescued_meanwhile_is_taken_back(
    dsn: str, outside: Connection, way: Way
) -> None:
    def lose_the_first(ctx: Context) -> None:
        if ctx.attempt == 1:
            steal(outside, ctx.id)

    async def script(scene: Scene) -> None:
        job_id = scene.enqueue(lose_the_first)
        await scene.work(job_id)
        assert scene.runs == [1, 2]
        assert scene.effects() == [job_id]
        assert scene.attempts(job_id) == ["lost"]
        assert job_row(outside, job_id).attempt == 2

    play(dsn, outside, way, READ_COMMITTED, script)


@one_of_each
@snapshots
def test_above_read_committed_the_row_lock_is_the_lease(
    dsn: str, outside: Connection, way: Way, level: IsolationLevel
) -> None:
    answers: list[Any] = []

    def try_to_take(ctx: Context) -> None:
        with outside.transaction(force_rollback=True):
            answers.append(run(outside, jobs.rescue(limit=10)).total)
            answers.extend(done.answer for done in run(outside, verbs.cancel([ctx.id])))

    async def script(scene: Scene) -> None:
        job_id = scene.enqueue(try_to_take)
        await scene.work(job_id)
        assert answers == [0, "busy"]
        assert scene.effects() == [job_id]
        assert job_row(outside, job_id).attempt == 1

    play(dsn, outside, way, level, script)


@snapshots
def test_a_frozen_worker_does_not_hold_the_row_for_ever(
    dsn: str, outside: Connection, level: IsolationLevel
) -> None:
    limits: list[Any] = []

    def look(ctx: Context) -> None:
        limits.append(ctx.connection.execute("SHOW idle_in_transaction_session_timeout").fetchone())

    async def script(scene: Scene) -> None:
        await scene.work(scene.enqueue(look, timeout=15))
        assert limits == [("45s",)]

    play(dsn, outside, WAYS[0], level, script)


@pytest.mark.parametrize("way", [way for way in WAYS if way.is_async], ids=str)
def test_a_cancelled_handler_is_ended_and_its_work_taken_back(
    dsn: str, outside: Connection, way: Way
) -> None:
    async def script(scene: Scene) -> None:
        @scene.tasks.task("wait", transactional=True)
        async def wait(ctx: Context) -> None:
            await execute(ctx.connection, PUT.format(ctx.id))
            await asyncio.to_thread(run, outside, verbs.cancel([ctx.id]))
            await asyncio.Event().wait()

        job_id = enqueue(outside, wait.job()).id
        await scene.work(job_id, until="cancelled")
        assert scene.effects() == []

    play(dsn, outside, way, READ_COMMITTED, script)


@pytest.mark.parametrize("way", [way for way in WAYS if not way.is_async], ids=str)
def test_a_cancelled_handler_in_a_thread_ends_at_its_checkpoint_and_its_work_is_taken_back(
    dsn: str, outside: Connection, way: Way
) -> None:
    def cancel_and_check(ctx: Context) -> None:
        run(outside, verbs.cancel([ctx.id]))
        until = time.monotonic() + 20
        while time.monotonic() < until:
            ctx.check_cancelled()
            time.sleep(0.01)

    async def script(scene: Scene) -> None:
        job_id = scene.enqueue(cancel_and_check)
        await scene.work(job_id, until="cancelled")
        assert scene.effects() == []

    play(dsn, outside, way, READ_COMMITTED, script)


@one_of_each
def test_a_handler_that_takes_too_long_commits_nothing_then_or_later(
    dsn: str, outside: Connection, way: Way
) -> None:
    done = threading.Event()

    def dawdle(ctx: Context) -> None:
        if ctx.attempt == 1:
            time.sleep(1)
            done.set()

    async def script(scene: Scene) -> None:
        job_id = scene.enqueue(dawdle, timeout=0.3)
        await scene.work(job_id)
        assert await asyncio.to_thread(done.wait, 20)
        assert scene.attempts(job_id) == ["timed_out"]
        assert scene.effects() == [job_id]

    play(dsn, outside, way, READ_COMMITTED, script)


def test_a_worker_that_stops_takes_unfinished_work_back_uncharged(
    dsn: str, outside: Connection
) -> None:
    started = threading.Event()

    async def script(scene: Scene) -> None:
        @scene.tasks.task("wait", transactional=True)
        async def wait(ctx: Context) -> None:
            await execute(ctx.connection, PUT.format(ctx.id))
            started.set()
            await asyncio.Event().wait()

        job_id = enqueue(outside, wait.job()).id
        async with Worker(scene.tasks, dsn, Settings(grace=timedelta(0))):
            assert await asyncio.to_thread(started.wait, 20)
        row = job_row(outside, job_id)
        assert (row.state, row.failures, row.crashes) == ("available", 0, 0)
        assert scene.effects() == []

    play(dsn, outside, WAYS[1], READ_COMMITTED, script)


# A transaction in the middle of a handler


def test_a_handler_may_open_its_transaction_late(dsn: str, outside: Connection) -> None:
    states: list[str] = []

    async def script(scene: Scene) -> None:
        @scene.tasks.task("late")
        def late(ctx: Context) -> None:
            before = ctx.connection
            with ctx.transaction() as connection:
                assert (before, ctx.connection) == (None, connection)
                connection.execute(PUT.format(ctx.id))
                ctx.result = "written"
            states.append(scene.state(ctx.id))
            assert ctx.connection is None

        job_id = enqueue(outside, late.job()).id
        await scene.work(job_id)
        assert states == ["succeeded"]
        assert scene.effects() == [job_id]
        assert job_row(outside, job_id).result == "written"

    play(dsn, outside, WAYS[0], READ_COMMITTED, script)


@pytest.mark.parametrize("way", [way for way in WAYS if way.is_async], ids=str)
def test_an_async_handler_may_open_its_transaction_late(
    dsn: str, outside: Connection, way: Way
) -> None:
    async def script(scene: Scene) -> None:
        @scene.tasks.task("late")
        async def late(ctx: Context) -> None:
            async with ctx.transaction() as connection:
                await execute(connection, PUT.format(ctx.id))
                ctx.result = {"written": True}

        job_id = enqueue(outside, late.job()).id
        await scene.work(job_id)
        assert scene.effects() == [job_id]
        assert job_row(outside, job_id).result == {"written": True}

    play(dsn, outside, way, READ_COMMITTED, script)


def test_an_error_inside_the_block_takes_its_work_back(dsn: str, outside: Connection) -> None:
    async def script(scene: Scene) -> None:
        @scene.tasks.task("late", max_attempts=1)
        def late(ctx: Context) -> None:
            with ctx.transaction() as connection:
                connection.execute(PUT.format(ctx.id))
                raise ValueError("no good")

        job_id = enqueue(outside, late.job()).id
        await scene.work(job_id, until="dead")
        assert scene.effects() == []
        assert job_row(outside, job_id).error == "no good"

    play(dsn, outside, WAYS[0], READ_COMMITTED, script)


def test_an_error_after_the_block_changes_nothing_any_more(
    dsn: str, outside: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    async def script(scene: Scene) -> None:
        @scene.tasks.task("late", max_attempts=1)
        def late(ctx: Context) -> None:
            with ctx.transaction() as connection:
                connection.execute(PUT.format(ctx.id))
            raise ValueError("too late")

        job_id = enqueue(outside, late.job()).id
        await scene.work(job_id)
        assert scene.effects() == [job_id]
        assert scene.attempts(job_id) == []

    play(dsn, outside, WAYS[0], READ_COMMITTED, script)
    assert "error after its transaction was committed" in caplog.text


def test_a_job_is_finished_once_a_second_block_writes_nothing(
    dsn: str, outside: Connection
) -> None:
    async def script(scene: Scene) -> None:
        @scene.tasks.task("twice", max_attempts=1)
        def twice(ctx: Context) -> None:
            for n in (1, 2):
                with ctx.transaction() as connection:
                    connection.execute(PUT.format(n))

        job_id = enqueue(outside, twice.job()).id
        await scene.work(job_id)
        assert scene.effects() == [1]

    play(dsn, outside, WAYS[0], READ_COMMITTED, script)


def test_jobs_enqueued_by_a_handler_are_part_of_its_work(dsn: str, outside: Connection) -> None:
    async def script(scene: Scene) -> None:
        @scene.tasks.task("child")
        def child(n: int) -> None: ...

        @scene.tasks.task("parent", transactional=True, max_attempts=2, backoff=Fixed(0))
        def parent(ctx: Context) -> None:
            enqueue(ctx.connection, child.job(ctx.attempt), queue="elsewhere")
            if ctx.attempt == 1:
                raise ValueError("no good")

        await scene.work(enqueue(outside, parent.job()).id)
        found = outside.execute(
            "SELECT (args->>'n')::int FROM pgqueue.jobs WHERE task = 'child'"
        ).fetchall()
        assert found == [(2,)]

    play(dsn, outside, WAYS[0], READ_COMMITTED, script)


# The factory's own connections


@pytest.mark.parametrize("way", [way for way in WAYS if "pool" in way.name], ids=str)
@every_level
def test_a_pool_gets_its_connections_back_clean(
    dsn: str, outside: Connection, way: Way, level: IsolationLevel
) -> None:
    def fail_first(ctx: Context) -> None:
        if ctx.run == 1:
            raise ValueError("no good")

    async def script(scene: Scene) -> None:
        ids = [scene.enqueue(fail_first) for _ in range(6)]
        await scene.work(*ids)
        assert scene.effects() == ids
        pool = scene.tasks.transaction.__self__  # type: ignore[union-attr]
        assert pool.get_stats()["pool_available"] == pool.get_stats()["pool_size"] == 1

    play(dsn, outside, way, level, script)


def test_the_idle_limit_of_a_transaction_ends_with_it(dsn: str, outside: Connection) -> None:
    with psycopg.connect(dsn) as connection:
        connection.isolation_level = REPEATABLE_READ

        @contextmanager
        def lend() -> Iterator[Connection]:
            yield connection

        scene = Scene(dsn, outside, WAYS[0], lend)
        job_id = scene.enqueue()
        asyncio.run(scene.work(job_id))
        row = connection.execute("SHOW idle_in_transaction_session_timeout").fetchone()
        assert row == ("0",)


@every_way
def test_a_broken_connection_is_said_once_by_the_attempt_that_it_failed(
    dsn: str, outside: Connection, way: Way, caplog: pytest.LogCaptureFixture
) -> None:
    def break_connection(ctx: Context) -> None:
        if ctx.attempt == 1:
            outside.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE state = 'idle in transaction' AND datname = current_database()"
            )
            raise ValueError("whose rollback finds no connection any more")

    async def script(scene: Scene) -> None:
        job_id = scene.enqueue(break_connection)
        await scene.work(job_id)
        assert scene.runs == [1, 2]

    play(dsn, outside, way, READ_COMMITTED, script)
    warned = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert len([line for line in warned if "job_failed" in line]) == 1
    assert [line for line in warned if "while closing" in line] == []


@one_of_each
def test_a_factory_that_fails_at_its_end_is_said(
    dsn: str, outside: Connection, way: Way, caplog: pytest.LogCaptureFixture
) -> None:
    @contextmanager
    def failing(inner: Any) -> Iterator[Any]:
        with inner as connection:
            yield connection
        raise ValueError("something was forgotten")

    @asynccontextmanager
    async def failing_async(inner: Any) -> AsyncIterator[Any]:
        async with inner as connection:
            yield connection
        raise ValueError("something was forgotten")

    async def script(scene: Scene) -> None:
        given: Any = scene.tasks.transaction
        wrap = failing_async if way.is_async else failing
        scene.tasks.transaction = lambda: wrap(given())
        await scene.work(scene.enqueue())

    play(dsn, outside, way, READ_COMMITTED, script)
    assert "while closing a handler's transaction" in caplog.text
    assert "ValueError: something was forgotten" in caplog.text


# The answer to the COMMIT is lost


@pytest.mark.parametrize(
    ("way", "level"),
    [
        *((way, READ_COMMITTED) for way in WAYS),
        *((way, level) for way in WAYS[:2] for level in LEVELS[1:]),
    ],
    ids=str,
)
@pytest.mark.parametrize("loss", ["answer", "request"])
def test_a_commit_in_doubt_is_decided_rightly(
    dsn: str, outside: Connection, way: Way, level: IsolationLevel, loss: Loss
) -> None:
    with LossyProxy(dsn, loss) as proxy:

        async def main() -> None:
            async with way.open(proxy.dsn, level) as lossy, way.open(dsn, level) as direct:
                scene = Scene(dsn, outside, way, lambda: (direct if proxy.lost else lossy)())
                job_id = scene.enqueue()
                await scene.work(job_id)
                assert proxy.lost == 1
                assert scene.effects() == [job_id]
                assert scene.runs == ([1] if loss == "answer" else [1, 2])
                assert scene.attempts(job_id) == ([] if loss == "answer" else ["failed"])
                assert job_row(outside, job_id).attempt == len(scene.runs)

        asyncio.run(main())


def test_a_commit_in_doubt_is_reported_as_the_success_it_was(
    dsn: str, outside: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[str] = []
    with LossyProxy(dsn, "answer") as proxy:

        async def main() -> None:
            async with psycopg_connections(proxy.dsn, READ_COMMITTED) as lossy:
                scene = Scene(dsn, outside, WAYS[0], lossy)
                scene.tasks.on_succeeded(lambda event: events.append("succeeded"))
                scene.tasks.on_attempt_failed(lambda event: events.append("failed"))
                await scene.work(scene.enqueue())

        asyncio.run(main())
    assert events == ["succeeded"]
    assert "no answer to its COMMIT; looking what became of it" in caplog.text
    assert "was committed" not in caplog.text
