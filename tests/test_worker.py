"""What a worker promises when something around it goes wrong."""

import asyncio
import contextlib
import gc
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg.errors import DeadlockDetected

import pgqueue
from pgqueue import Cancel, Context, Snooze, Tasks
from pgqueue.job import Job
from pgqueue.outcome import Outcome, Released
from pgqueue.storage import jobs
from pgqueue.storage.drivers import run
from pgqueue.storage.operation import Statement
from pgqueue.storage.sqlstate import Remedy, remedy
from pgqueue.worker import Settings, Worker, backstop
from pgqueue.worker.claimer import Claimer
from pgqueue.worker.crew import Crew
from pgqueue.worker.executor import Executor
from pgqueue.worker.holdings import Hold
from pgqueue.worker.session import Interrupted, Session
from tests.crew import make
from tests.postgres import eventually
from tests.rows import WORKER

NOBODY = "host=127.0.0.1 port=1 dbname=nothing connect_timeout=2"
"""A database that is not there."""


def enqueue(dsn: str, *new_jobs: pgqueue.NewJob) -> list[int]:
    with psycopg.connect(dsn) as connection:
        return [each.id for each in pgqueue.enqueue_many(connection, list(new_jobs))]


def rows(dsn: str, statement: str, *params: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(statement, params)
        return cursor.fetchall() if cursor.description else []


def state_of(dsn: str, job_id: int) -> str:
    return str(rows(dsn, "SELECT state FROM pgqueue.all_jobs WHERE id = %s", job_id)[0][0])


async def until(condition: Callable[[], object], *, within: float = 20.0) -> None:
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.01)


async def until_state(dsn: str, job_id: int, *states: str, within: float = 20.0) -> None:
    await until(lambda: state_of(dsn, job_id) in states, within=within)


def take_away(dsn: str, job_id: int) -> None:
    """Let the job's lease run out, and have it rescued before it is renewed."""
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "UPDATE pgqueue.jobs SET lease_until = now() - interval '1 s' WHERE id = %s", [job_id]
        )
        assert run(connection, jobs.rescue(limit=10)).total == 1


def test_a_worker_can_be_stopped_while_it_waits_for_its_database() -> None:
    async def work() -> int:
        worker = Worker(Tasks(), NOBODY)
        running = asyncio.create_task(worker.run())
        await asyncio.sleep(0)
        worker.stop()
        async with asyncio.timeout(10):
            return await running

    assert asyncio.run(work()) == 0


def test_a_worker_that_is_stopped_at_once_leaves_nothing_that_was_begun(dsn: str) -> None:
    async def work() -> None:
        async with Worker(Tasks(), dsn):
            pass

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(work())
        gc.collect()


def test_each_start_of_a_worker_is_another_worker() -> None:
    assert len({Worker(Tasks(), NOBODY).id for _ in range(10)}) == 10


def test_nothing_is_written_of_a_job_before_its_handler_has_ended(dsn: str) -> None:
    tasks = Tasks()

    @tasks.task("slow")
    async def slow() -> None:
        await may_end.wait()

    @tasks.task("quick")
    async def quick() -> None: ...

    may_end = asyncio.Event()
    (slow_job,) = enqueue(dsn, slow.job())

    async def work() -> None:
        async with Worker(tasks, dsn, Settings(grace=timedelta(0))) as worker:
            await until(lambda: worker.parts.crew.lanes["default"].running)
            # Outcomes are written in their order: one of the slow job would be there by then.
            (later,) = enqueue(dsn, quick.job())
            await until_state(dsn, later, "succeeded")
            assert state_of(dsn, slow_job) == "running"
            may_end.set()
            await until_state(dsn, slow_job, "succeeded")

    asyncio.run(work())


def test_what_a_claim_without_an_answer_had_leased_is_given_back_on_the_next_connection(
    dsn: str,
) -> None:
    tasks = Tasks()

    @tasks.task("quick")
    async def quick() -> None: ...

    (job,) = enqueue(dsn, quick.job().options(delay=3600))

    async def work() -> None:
        async with Worker(tasks, dsn, Settings(maintenance=False)) as worker:
            await until(lambda: worker.parts.ears.is_up)
            rows(
                dsn,
                "UPDATE pgqueue.jobs SET state = 'running', attempt = 1, worker_id = %s,"
                " claimed_at = now(), lease_until = now() + interval '1 hour', run_at = now()",
                worker.id,
            )
            rows(
                dsn,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name = 'pgqueue:pump'",
            )
            await until_state(dsn, job, "succeeded", within=15)

    asyncio.run(work())
    told = rows(dsn, "SELECT attempt, failures, crashes FROM pgqueue.finished_jobs")
    assert told == [(2, 0, 0)], "it was no fault of the job"


def test_a_reason_that_no_text_column_can_hold_still_cancels_its_job(dsn: str) -> None:
    tasks = Tasks()

    @tasks.task("cancels")
    async def cancels() -> None:
        raise Cancel("a NUL \0 and half a character \ud800")

    (job,) = enqueue(dsn, cancels.job())

    async def work() -> None:
        async with Worker(tasks, dsn):
            await until_state(dsn, job, "cancelled")

    asyncio.run(work())


def test_an_error_that_no_text_column_can_hold_is_kept_readable(dsn: str) -> None:
    tasks = Tasks()

    @tasks.task("raises", max_attempts=1)
    async def raises() -> None:
        raise ValueError("a NUL \0 in it")

    (job,) = enqueue(dsn, raises.job())

    async def work() -> None:
        async with Worker(tasks, dsn):
            await until_state(dsn, job, "dead")

    asyncio.run(work())
    assert rows(dsn, "SELECT error FROM pgqueue.jobs") == [("a NUL \N{SYMBOL FOR NULL} in it",)]


class Ring(Exception):
    """Its own cause's cause."""

    def __init__(self) -> None:
        super().__init__("ring")
        self.__cause__ = Exception("middle")
        self.__cause__.__cause__ = self


class Mapped(Exception):
    orig = "what it was, as text"


class NoDelay(Snooze):
    def __init__(self) -> None:
        Exception.__init__(self)


class Unreadable(Cancel):
    def __str__(self) -> str:
        raise ValueError("no")


@pytest.mark.parametrize("error", [Ring, Mapped, NoDelay, Unreadable])
def test_whatever_a_handler_raises_is_an_outcome(dsn: str, error: type[Exception]) -> None:
    tasks = Tasks()

    @tasks.task("raises", max_attempts=1)
    async def raises() -> None:
        raise error()

    (job,) = enqueue(dsn, raises.job())

    async def work() -> None:
        async with Worker(tasks, dsn):
            await until_state(dsn, job, "dead", "cancelled", within=5)

    asyncio.run(work())


def test_a_job_that_was_rescued_meanwhile_is_not_reported_as_done(dsn: str) -> None:
    tasks = Tasks()
    reported: list[int] = []
    started, go_on = asyncio.Event(), asyncio.Event()

    @tasks.task("slow")
    async def slow() -> None:
        started.set()
        await go_on.wait()

    @tasks.on_succeeded
    def note(event: Any) -> None:
        reported.append(event.attempt)

    (job,) = enqueue(dsn, slow.job())

    async def work() -> None:
        worker = Worker(tasks, dsn, Settings(maintenance=False))
        async with worker:
            await started.wait()
            worker.parts.pump.stop_claiming()
            await asyncio.to_thread(take_away, dsn, job)
            go_on.set()
            await until(lambda: worker.parts.completer.lost or reported)

    asyncio.run(work())
    assert reported == []
    assert state_of(dsn, job) == "available"


def test_a_chore_that_always_fails_does_not_keep_jobs_from_being_rescued(dsn: str) -> None:
    tasks = Tasks()

    @tasks.task("other")
    async def other() -> None: ...

    (job,) = enqueue(dsn, pgqueue.NewJob("unknown-here"))
    rows(
        dsn,
        "UPDATE pgqueue.jobs SET state = 'running', worker_id = gen_random_uuid(), attempt = 1,"
        " lease_until = now()",
    )
    rows(dsn, "DROP FUNCTION pgqueue.forget_partition(text)")

    async def work() -> None:
        settings = Settings(lease=timedelta(seconds=2), rescue_every=timedelta(seconds=1))
        async with Worker(tasks, dsn, settings):
            await until_state(dsn, job, "available", within=10)

    asyncio.run(work())


def test_a_commit_in_doubt_holds_up_no_other_job(dsn: str) -> None:
    """The server has not heard yet that the connection is gone: the row stays locked."""
    tasks = Tasks(transaction=lambda: lost_in_commit(dsn, stranded))
    stranded: list[AsyncConnection[Any]] = []

    @tasks.task("in-doubt", transactional=True, max_attempts=1)
    async def in_doubt() -> None: ...

    @tasks.task("other")
    async def other() -> None: ...

    (doubtful,) = enqueue(dsn, in_doubt.job())

    async def work() -> None:
        worker = Worker(tasks, dsn)
        async with worker:
            await until(lambda: worker.parts.completer.undecided)
            others = enqueue(dsn, *[other.job() for _ in range(20)])
            for each in others:
                await until_state(dsn, each, "succeeded", within=5)
            assert state_of(dsn, doubtful) == "running"
            await stranded[0].close()  # closed by the server at last
            await until_state(dsn, doubtful, "dead")

    asyncio.run(work())


@contextlib.asynccontextmanager
async def lost_in_commit(
    dsn: str, stranded: list[AsyncConnection[Any]]
) -> AsyncIterator[AsyncConnection[Any]]:
    """A connection whose COMMIT never arrives, and which the server keeps."""
    connection = await AsyncConnection.connect(dsn)

    async def commit() -> None:
        stranded.append(connection)
        connection.rollback = nothing  # type: ignore[method-assign]
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    async def nothing() -> None: ...

    connection.commit = commit  # type: ignore[method-assign]
    try:
        yield connection
    finally:
        if connection not in stranded:
            await connection.close()


@pytest.mark.parametrize("lost", [True, False])
def test_work_is_not_committed_by_a_factory_that_commits_by_itself(dsn: str, lost: bool) -> None:
    @contextlib.asynccontextmanager
    async def committing() -> AsyncIterator[AsyncConnection[Any]]:
        async with (
            await AsyncConnection.connect(dsn) as connection,
            connection.transaction(),
        ):
            yield connection

    rows(dsn, "CREATE TABLE effects (job_id bigint)")
    tasks = Tasks(transaction=committing)
    worker = Worker(tasks, dsn)

    @tasks.task("works", transactional=True, max_attempts=1)
    async def works(ctx: Context) -> None:
        await ctx.connection.execute("INSERT INTO effects VALUES (%s)", (ctx.id,))
        if lost:
            worker.parts.pump.stop_claiming()
            await asyncio.to_thread(take_away, dsn, ctx.id)

    (job,) = enqueue(dsn, works.job())

    async def work() -> None:
        async with worker:
            await until(lambda: worker.parts.completer.lost or state_of(dsn, job) == "dead")

    asyncio.run(work())
    assert state_of(dsn, job) == ("available" if lost else "dead")
    assert rows(dsn, "SELECT 1 FROM effects") == []


def test_a_cancelled_job_that_fails_in_its_thread_is_not_tried_again(dsn: str) -> None:
    tasks = Tasks()
    started = threading.Event()

    @tasks.task("stubborn", max_attempts=5)
    def stubborn(ctx: Context) -> None:
        started.set()
        while not ctx.cancelled:
            time.sleep(0.01)
        raise ValueError("its cleanup failed")

    (job,) = enqueue(dsn, stubborn.job())

    async def work() -> None:
        async with Worker(tasks, dsn):
            await until(started.is_set)
            rows(dsn, "SELECT pgqueue.cancel(%s)", job)
            await until(lambda: state_of(dsn, job) != "running")

    asyncio.run(work())
    assert state_of(dsn, job) == "cancelled"


def test_the_hooks_of_failure_and_death_do_not_hear_of_a_job_that_was_cancelled(dsn: str) -> None:
    tasks = Tasks()
    heard: list[Any] = []
    started = threading.Event()

    @tasks.task("stubborn", max_attempts=1)
    def stubborn(ctx: Context) -> None:
        started.set()
        while not ctx.cancelled:
            time.sleep(0.01)
        raise ValueError("its cleanup failed")

    tasks.on_dead(heard.append)
    tasks.on_attempt_failed(heard.append)
    (job,) = enqueue(dsn, stubborn.job())

    async def work() -> None:
        async with Worker(tasks, dsn):
            await until(started.is_set)
            rows(dsn, "SELECT pgqueue.cancel(%s)", job)
            await until_state(dsn, job, "cancelled")

    asyncio.run(work())
    assert heard == []


@pytest.mark.parametrize("kind", ["async", "thread"])
def test_earlier_snoozes_and_releases_leave_a_job_its_free_conflicts(dsn: str, kind: str) -> None:
    tasks = Tasks()
    runs: list[int] = []
    around: list[int] = []

    def conflict(ctx: Context) -> None:
        runs.append(ctx.attempt)
        if ctx.attempt < 6:
            raise Snooze(0)
        if runs.count(ctx.attempt) <= 3:
            raise DeadlockDetected

    if kind == "thread":
        tasks.task("conflicts", max_attempts=1)(conflict)
    else:

        @tasks.task("conflicts", max_attempts=1)
        async def conflict_on_the_loop(ctx: Context) -> None:
            conflict(ctx)

    @tasks.middleware
    async def count(ctx: Context, call_next: Any) -> Any:
        around.append(ctx.attempt)
        return await call_next()

    (job,) = enqueue(dsn, pgqueue.NewJob("conflicts"))

    async def work() -> None:
        async with Worker(tasks, dsn):
            await until_state(dsn, job, "succeeded", "dead")

    asyncio.run(work())
    assert state_of(dsn, job) == "succeeded"
    assert runs == around == [1, 2, 3, 4, 5, 6, 6, 6, 6]


def test_a_conflict_is_not_repeated_for_a_job_that_is_to_stop(dsn: str) -> None:
    tasks = Tasks()
    runs: list[int] = []

    @tasks.task("conflicts", max_attempts=1)
    def conflicts(ctx: Context) -> None:
        runs.append(ctx.attempt)
        while not ctx.cancelled:
            time.sleep(0.01)
        raise DeadlockDetected

    (job,) = enqueue(dsn, conflicts.job())

    async def work() -> None:
        async with Worker(tasks, dsn):
            await until(lambda: runs)
            rows(dsn, "SELECT pgqueue.cancel(%s)", job)
            await until_state(dsn, job, "cancelled")

    asyncio.run(work())
    assert runs == [1]


def test_a_hook_that_never_returns_does_not_keep_the_worker_from_stopping(dsn: str) -> None:
    tasks = Tasks()
    over = threading.Event()

    @tasks.task("quick")
    async def quick() -> None: ...

    @tasks.on_succeeded
    def hang(event: Any) -> None:
        over.wait(60)

    async def work() -> float:
        ids = enqueue(dsn, *[quick.job() for _ in range(50)])
        async with Worker(tasks, dsn):
            for each in ids:
                await until_state(dsn, each, "succeeded")
            before = time.monotonic()
        took = time.monotonic() - before
        over.set()
        return took

    assert asyncio.run(work()) < 15


def test_a_bell_that_was_being_probed_is_held_later(dsn: str) -> None:
    tasks = Tasks()

    @tasks.task("quick")
    async def quick() -> None: ...

    async def work() -> None:
        with psycopg.connect(dsn, autocommit=True) as prober:
            prober.execute(
                "SELECT pg_advisory_lock(1885827377, bell) FROM generate_series(0,15) bell"
            )
            worker = Worker(tasks, dsn, Settings(poll=timedelta(seconds=1)))
            async with worker:
                await until(lambda: worker.parts.pump._wait > 0.1)
                prober.execute("SELECT pg_advisory_unlock_all()")
                await until(
                    lambda: rows(
                        dsn,
                        "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ShareLock'",
                    ),
                    within=5,
                )

    asyncio.run(work())


def test_without_the_connection_for_bells_jobs_run_all_the_same(dsn: str) -> None:
    tasks = Tasks()

    @tasks.task("quick")
    async def quick() -> None: ...

    async def work() -> int:
        async with Worker(tasks, dsn, Settings(listen_dsn=NOBODY)) as worker:
            opened = 0
            session = worker._session
            was = session.opened_at
            for _ in range(5):
                (job,) = enqueue(dsn, quick.job())
                await until_state(dsn, job, "succeeded")
                opened += session.opened_at != was
                was = session.opened_at
            return opened

    assert asyncio.run(work()) == 0


def test_a_stuck_handler_in_an_embedded_worker_costs_its_neighbours_nothing(
    dsn: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(backstop, "_STUCK_AFTER", 0.2)
    tasks = Tasks()
    starts: list[int] = []
    go_on = asyncio.Event()

    @tasks.task("deaf", timeout=0.2, max_attempts=1)
    async def deaf() -> None:
        while not go_on.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await go_on.wait()

    @tasks.task("neighbour")
    async def neighbour(ctx: Context) -> None:
        starts.append(ctx.attempt)
        await go_on.wait()

    enqueue(dsn, deaf.job(), neighbour.job())

    async def work() -> None:
        async with Worker(tasks, dsn, Settings(lease=timedelta(seconds=2))) as worker:
            await until(lambda: caplog.text.count("far past the timeout") > 1)
            go_on.set()
            await until(lambda: not worker.parts.holdings)

    asyncio.run(work())
    assert starts == [1]


def test_a_worker_whose_pump_has_died_is_not_ready_and_gives_back_what_it_holds(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = Tasks()
    started = asyncio.Event()

    @tasks.task("slow")
    async def slow() -> None:
        started.set()
        await asyncio.Event().wait()

    (job,) = enqueue(dsn, slow.job())

    async def work() -> int:
        worker = Worker(tasks, dsn, Settings(grace=timedelta(0), maintenance=False))
        running = asyncio.create_task(worker.run())
        await started.wait()

        async def broken() -> bool:
            monkeypatch.undo()
            raise ValueError("a bug")

        monkeypatch.setattr(worker.parts.pump, "_turn", broken)
        worker.parts.pump.ring()
        await until(lambda: not worker.is_ready)
        return await running

    assert asyncio.run(work()) == 70
    assert state_of(dsn, job) == "available"
    assert rows(dsn, "SELECT crashes FROM pgqueue.jobs") == [(0,)]


def test_an_unforeseen_error_at_the_start_is_a_bug_as_it_is_later(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Tasks):
        @property
        def targets(self) -> dict[str, float | None]:
            raise ValueError("unforeseen")

    assert asyncio.run(Worker(Broken(), dsn).run()) == 70
    (line,) = [record for record in caplog.records if record.levelname == "CRITICAL"]
    assert line.getMessage().startswith("start: a bug")


def test_a_run_that_is_cancelled_closes_the_worker(dsn: str) -> None:
    tasks = Tasks()
    started = asyncio.Event()

    @tasks.task("slow")
    async def slow() -> None:
        started.set()
        await asyncio.Event().wait()

    (job,) = enqueue(dsn, slow.job())

    async def work() -> None:
        worker = Worker(tasks, dsn, Settings(grace=timedelta(0)))
        running = asyncio.create_task(worker.run())
        await started.wait()
        running.cancel()
        await asyncio.wait({running})

    asyncio.run(work())
    assert state_of(dsn, job) == "available"
    assert rows(dsn, "SELECT 1 FROM pgqueue.workers") == []


def test_a_job_whose_claim_was_under_way_at_the_stop_is_given_back() -> None:
    outcomes: list[Outcome] = []
    crew = Crew(
        queues={"default": 1},
        prefetch=0,
        executor=Executor(Tasks(), threads=1),
        on_start=lambda job, moment: None,
        on_outcome=outcomes.append,
        is_fresh=lambda hold: True,
        on_stale=lambda: None,
    )
    crew.release_waiting("the worker stops")
    crew.offer([Hold(make("echo"), 0.0)])

    assert [type(outcome) for outcome in outcomes] == [Released]


def test_an_idle_worker_that_stops_gives_back_what_it_has_just_claimed(dsn: str) -> None:
    tasks = Tasks()

    @tasks.task("work")
    async def work() -> None: ...

    async def stop_amid_a_claim() -> None:
        claimed, gate = asyncio.Event(), asyncio.Event()
        worker = Worker(tasks, dsn, Settings(queues={"default": 1}))
        await worker.start()
        session = worker.parts.pump._session
        exchange = session.exchange

        async def answer_late(*given: Any) -> Any:
            answers = await exchange(*given)
            if any(answer.rowcount > 1 for answer in answers):
                claimed.set()
                await gate.wait()
            return answers

        session.exchange = answer_late  # type: ignore[method-assign]
        enqueue(dsn, work.job())
        await claimed.wait()
        closing = asyncio.create_task(worker.close())
        await asyncio.wait({closing}, timeout=0.5)
        gate.set()
        await closing

    asyncio.run(stop_amid_a_claim())
    assert rows(dsn, "SELECT state, crashes FROM pgqueue.jobs") == [("available", 0)]


def crew_of(queues: dict[str, int], on_start: Callable[[Job, float], None]) -> Crew:
    """A crew whose jobs are of no task: each ends as soon as it is begun."""
    return Crew(
        queues=queues,
        prefetch=0,
        executor=Executor(Tasks(), threads=1),
        on_start=on_start,
        on_outcome=lambda outcome: None,
        is_fresh=lambda hold: True,
        on_stale=lambda: None,
    )


def test_a_queue_with_many_short_jobs_does_not_keep_another_from_its_slots() -> None:
    started: list[str] = []

    async def work() -> None:
        crew = crew_of({"many": 20_000, "few": 1}, lambda job, _: started.append(job.queue))
        many = [Hold(make("echo")._replace(queue="many"), 0.0) for _ in range(20_000)]
        crew.offer([*many, Hold(make("echo")._replace(queue="few"), 0.0)])
        await until(lambda: crew.is_idle)

    asyncio.run(work())
    assert started.index("few") < 15_000


def test_jobs_are_started_by_one_chain_of_slices_however_often_more_are_offered() -> None:
    async def work() -> int:
        crew = crew_of({"default": 20_000}, lambda job, _: None)
        for _ in range(10):
            crew.offer([Hold(make("echo")._replace(queue="default"), 0.0) for _ in range(1_500)])
        waiting = [
            handle
            for handle in asyncio.get_running_loop()._ready  # type: ignore[attr-defined]
            if handle._callback == crew.fill and not handle.cancelled()
        ]
        await until(lambda: crew.is_idle)
        return len(waiting)

    assert asyncio.run(work()) == 1


def test_what_fails_while_statements_are_under_way_is_not_held_against_them(dsn: str) -> None:
    async def work() -> bool:
        session = Session(dsn, "pump")
        await session.open()

        async def fail() -> None:
            raise UnicodeEncodeError("utf-8", "", 0, 1, "of something else")

        with pytest.raises(Interrupted) as caught:
            await session.exchange([Statement("SELECT 1", {})], fail)
        return remedy(caught.value) is Remedy.BUG

    assert asyncio.run(work())


def test_suspects_that_cannot_be_had_leave_time_for_the_rest() -> None:
    crew = crew_of({"default": 1}, lambda job, _: None)
    claimer = Claimer(crew, worker_id=WORKER, tasks=Tasks(), lease=timedelta(seconds=30))
    claimer.looked(True)
    claimer._since -= 5.0  # that long the hands took to become empty
    claimer._look_at -= 5.0
    assert claimer.emptied()
    claimer.claimed_apart(False)

    assert claimer.limits() == {"default": 1}
    assert not claimer.wants_look()


def test_a_thread_of_a_handler_that_hangs_does_not_keep_the_process_from_ending(
    dsn: str, tmp_path: Path
) -> None:
    (tmp_path / "hanging.py").write_text(
        "import asyncio, time\n"
        "from pgqueue import Tasks\n"
        "tasks = Tasks()\n"
        "@tasks.task('hang')\n"
        "async def hang():\n"
        "    await asyncio.to_thread(time.sleep, 600)\n"
    )
    (job,) = enqueue(dsn, pgqueue.NewJob("hang", timeout=0.1, max_attempts=1))
    program = (
        "import sys; from pgqueue.worker import Settings; from pgqueue.worker.main import run; "
        f"sys.exit(run('hanging:tasks', {dsn!r}, Settings()))"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path) as process:
        try:
            eventually(lambda: state_of(dsn, job) == "dead")
            process.terminate()
            assert process.wait(timeout=20) == 0
        finally:
            process.kill()
