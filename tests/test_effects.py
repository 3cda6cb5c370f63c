"""What a handler does outside is never silently repeated: ``ctx.once``."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from pgqueue import (
    Context,
    Fixed,
    InvalidOption,
    LeaseLost,
    NewJob,
    PgqueueError,
    Reason,
    Tasks,
    UnknownOutcome,
    current_job,
)
from pgqueue.effects import Answer, Entry, Found, Word
from pgqueue.job import Job
from pgqueue.storage import effects, upkeep
from pgqueue.storage.drivers import run
from pgqueue.testing import drain
from pgqueue.worker import Settings, Worker
from tests.command import Command
from tests.process import Stage
from tests.rows import OTHER_WORKER, WORKER, add, claim, claim_one, crash, lapse
from tests.test_worker import enqueue, rows, take_away, until, until_state

Connection = psycopg.Connection[Any]

QUICK = Settings(poll=timedelta(milliseconds=50))
LETTERS = "tests.effect_tasks:tasks"


def entry(word: Word, *, call: str | None = None, over: str | None = None, **more: Any) -> Entry:
    return Entry(word, "k", call or str(uuid4()), 1000, over, **more)


def enter(connection: Connection, job: Job, what: Entry, *, worker_id: str = WORKER) -> Answer:
    return run(connection, effects.enter(job, what, worker_id=worker_id))


def begin(connection: Connection, job: Job, *, worker_id: str = WORKER) -> Answer:
    return enter(connection, job, entry(Word.BEGIN), worker_id=worker_id)


def state_of(connection: Connection) -> str | None:
    row = connection.execute("SELECT state FROM pgqueue.effects WHERE key = 'k'").fetchone()
    return None if row is None else row[0]


def crash_inside(connection: Connection) -> tuple[Job, str]:
    """Have an attempt begin the effect and vanish; return the job's next attempt and the call."""
    add(connection, max_crashes=9)
    call = str(uuid4())
    job = claim_one(connection)
    assert enter(connection, job, entry(Word.BEGIN, call=call)).found is Found.FIRST
    connection.execute("UPDATE pgqueue.jobs SET lease_until = now() - interval '1 s'")
    connection.execute(
        "UPDATE pgqueue.jobs SET state = 'available', lease_until = NULL, worker_id = NULL"
    )
    return claim_one(connection), call


# --- Real processes -------------------------------------------------------------------------------


@pytest.fixture
def stage(dsn: str, tmp_path: Path) -> Iterator[Stage]:
    with Stage(dsn, tmp_path) as stage:
        yield stage


def letters(home: Path) -> list[str]:
    file = home / "letters"
    return file.read_text().splitlines() if file.exists() else []


def crash_after_sending(stage: Stage, key: str) -> int:
    """A worker is killed between the call and its record; another finds the job."""
    (job,) = stage.enqueue(NewJob("send-letter", json.dumps({"key": key})))
    first = stage.start(tasks=LETTERS, lease=2, rescue_every=0.2, poll=0.1)
    stage.until_started(job)
    first.kill()
    stage.start(tasks=LETTERS, lease=2, rescue_every=0.2, poll=0.1)
    stage.until_state(job, "dead")
    return job


def test_acceptance_17_what_a_crash_left_unrecorded_is_flagged_unknown_and_not_sent_again(
    stage: Stage, tmp_path: Path
) -> None:
    pgqueue = Command(stage.dsn)
    job = crash_after_sending(stage, "welcome:123")
    assert (stage.job(job).reason, letters(tmp_path)) == ("unknown_outcome", ["welcome:123"])
    assert "UnknownOutcome" in stage.job(job).error_type
    seen = stage.sql("SELECT task, job_id, attempt FROM pgqueue.unknown_effects")
    assert seen == [("send-letter", job, 1)]

    # Looked at again before anybody knows, nothing is sent either.
    stage.sql("SELECT pgqueue.retry(%s)", job)
    stage.until_state(job, "dead")
    assert letters(tmp_path) == ["welcome:123"]

    pgqueue("effects", "resolve", "send-letter", "welcome:123", "--happened", "--reason", "log")
    assert stage.sql("SELECT * FROM pgqueue.unknown_effects") == []
    stage.sql("SELECT pgqueue.retry(%s)", job)
    stage.until_state(job, "succeeded")
    assert letters(tmp_path) == ["welcome:123"]
    assert stage.job(job).result is False


def test_what_a_person_says_did_not_happen_is_done_by_the_redrive(
    stage: Stage, tmp_path: Path
) -> None:
    pgqueue = Command(stage.dsn)
    job = crash_after_sending(stage, "w")
    listed = json.loads(pgqueue("effects", "list", "--unknown", "--json").stdout)["effects"]
    assert [(each["key"], each["state"], each["job_id"]) for each in listed] == [
        ("w", "unknown", job)
    ]
    pgqueue("effects", "resolve", "send-letter", "w", "--did-not-happen", "--reason", "asked")
    stage.sql("SELECT pgqueue.retry(%s)", job)
    stage.until_state(job, "succeeded")
    assert letters(tmp_path) == ["w", "w"]
    assert stage.job(job).result is True
    (said,) = stage.sql(
        "SELECT job_id, reason, detail FROM pgqueue.audit WHERE verb = 'resolve_effect'"
    )
    assert said == (
        job,
        "asked",
        {"task": "send-letter", "key": "w", "happened": False},
    )


def test_a_process_child_is_guarded_too(stage: Stage, tmp_path: Path) -> None:
    args = json.dumps({"key": "c"})
    stage.start(tasks=LETTERS, lease=5, poll=0.1)
    first, second = stage.enqueue(NewJob("send-from-child", args), NewJob("send-from-child", args))
    for job in (first, second):
        stage.until_state(job, "succeeded")
    assert letters(tmp_path) == ["c"]
    assert sorted([stage.job(first).result, stage.job(second).result]) == [False, True]


def test_a_process_child_that_dies_in_the_middle_leaves_an_unknown_outcome(
    stage: Stage, tmp_path: Path
) -> None:
    stage.start(tasks=LETTERS, lease=5, poll=0.1)
    (job,) = stage.enqueue(NewJob("die-in-child", '{"key": "d"}'))
    stage.until_state(job, "dead")
    assert (stage.job(job).reason, letters(tmp_path)) == ("unknown_outcome", ["d"])


# --- A worker in this process ---------------------------------------------------------------------


def work(dsn: str, tasks: Tasks, story: Callable[[], Any], settings: Settings = QUICK) -> None:
    async def play() -> None:
        async with asyncio.timeout(60), Worker(tasks, dsn, settings):
            await story()

    asyncio.run(play())


def outcome(dsn: str, job: int) -> tuple[Any, ...]:
    return rows(dsn, "SELECT state, result, reason FROM pgqueue.all_jobs WHERE id = %s", job)[0]


def sending(tasks: Tasks, sent: list[str], how: str, **options: Any) -> None:
    """Register a task ``send``, async or in a thread, that fails after its first call."""

    def call(key: str, error: str) -> None:
        sent.append(key)
        if error and len(sent) == 1:
            raise {"timeout": TimeoutError, "refused": ConnectionRefusedError}[error](error)

    given = {"backoff": Fixed(0), **options}
    if how == "async":

        @tasks.task("send", **given)
        async def send(ctx: Context, key: str, error: str = "") -> bool:
            async with ctx.once(key, undone_by=(ConnectionRefusedError,)) as first:
                if first:
                    call(key, error)
            return first

    else:

        @tasks.task("send", **given)
        def send_in_thread(ctx: Context, key: str, error: str = "") -> bool:
            with ctx.once(key, undone_by=ConnectionRefusedError) as first:
                if first:
                    call(key, error)
            return first


def job(key: str = "k", error: str = "") -> NewJob:
    return NewJob("send", json.dumps({"key": key, "error": error}))


@pytest.fixture(params=["async", "thread"])
def how(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_what_is_done_is_skipped(dsn: str, how: str) -> None:
    tasks, sent = Tasks(), list[str]()
    sending(tasks, sent, how)

    async def story() -> None:
        (one,) = enqueue(dsn, job())
        await until_state(dsn, one, "succeeded")
        (two, other) = enqueue(dsn, job(), job("other"))
        await until_state(dsn, two, "succeeded")
        await until_state(dsn, other, "succeeded")
        assert [outcome(dsn, each)[1] for each in (one, two, other)] == [True, False, True]

    work(dsn, tasks, story)
    assert sorted(sent) == ["k", "other"]
    assert rows(dsn, "SELECT DISTINCT state FROM pgqueue.effects") == [("done",)]


def test_an_exception_says_nothing_of_what_happened(dsn: str, how: str) -> None:
    tasks, sent = Tasks(), list[str]()
    sending(tasks, sent, how)

    async def story() -> None:
        (one,) = enqueue(dsn, job(error="timeout"))
        await until_state(dsn, one, "dead", "succeeded")
        assert outcome(dsn, one) == ("dead", None, "unknown_outcome")

    work(dsn, tasks, story)
    assert sent == ["k"]


def test_an_exception_that_means_that_nothing_happened_lets_the_retry_do_it(
    dsn: str, how: str
) -> None:
    tasks, sent = Tasks(), list[str]()
    sending(tasks, sent, how)

    async def story() -> None:
        (one,) = enqueue(dsn, job(error="refused"))
        await until_state(dsn, one, "succeeded", "dead")
        assert outcome(dsn, one) == ("succeeded", True, None)

    work(dsn, tasks, story)
    assert sent == ["k", "k"]


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("answer", [True, False, None])
def test_the_code_may_know_what_nobody_else_does(
    dsn: str, how: str, answer: bool | None, is_async: bool
) -> None:
    tasks, sent, asked = Tasks(), list[str](), list[tuple[int, str]]()

    def judge(ctx: Context, key: str) -> bool | None:
        asked.append((ctx.attempt, key))
        return answer

    async def judge_async(ctx: Context, key: str) -> bool | None:
        return judge(ctx, key)

    sending(tasks, sent, how, on_unknown=judge_async if is_async else judge)

    async def story() -> None:
        (one,) = enqueue(dsn, job(error="timeout"))
        await until_state(dsn, one, "succeeded", "dead")
        assert asked == [(2, "k")]
        if answer is None:
            assert outcome(dsn, one) == ("dead", None, "unknown_outcome")
            return
        assert outcome(dsn, one) == ("succeeded", not answer, None)
        logged = rows(dsn, "SELECT message, fields FROM pgqueue.job_logs WHERE job_id = %s", one)
        said = "it happened" if answer else "it did not happen"
        assert logged == [(f"once: on_unknown says that {said}", {"key": "k"})]
        assert rows(dsn, "SELECT state FROM pgqueue.effects") == [("done",)]

    work(dsn, tasks, story)
    assert sent == (["k", "k"] if answer is False else ["k"])


def test_of_two_jobs_with_one_key_at_once_one_does_it_and_the_other_comes_again_uncharged(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgqueue.effects._SHORTLY", 0.2)
    tasks, sent, may_end = Tasks(), list[int](), asyncio.Event()

    @tasks.task("send", max_attempts=1)
    async def send(ctx: Context, key: str, error: str = "") -> bool:
        async with ctx.once(key) as first:
            if first:
                sent.append(ctx.id)
                await may_end.wait()
        return first

    async def story() -> None:
        ids = enqueue(dsn, job(), job())
        snoozed = "SELECT job_id FROM pgqueue.attempts WHERE outcome = 'snoozed'"
        await until(lambda: rows(dsn, snoozed))
        may_end.set()
        for each in ids:
            await until_state(dsn, each, "succeeded", "dead")
        assert sorted(outcome(dsn, each)[1] for each in ids) == [False, True]

    work(dsn, tasks, story)
    assert len(sent) == 1


def test_an_attempt_whose_lease_is_lost_records_nothing(dsn: str) -> None:
    tasks, started, may_end = Tasks(), threading.Event(), threading.Event()
    ends: list[BaseException | None] = []

    @tasks.task("send", max_crashes=9)
    def send(ctx: Context, key: str, error: str = "") -> None:
        try:
            with ctx.once(key) as first:
                if first:
                    started.set()
                    may_end.wait(30)
        except BaseException as problem:
            ends.append(problem)
            raise

    async def story() -> None:
        (one,) = enqueue(dsn, job())
        await until(started.is_set)
        take_away(dsn, one)
        may_end.set()
        await until_state(dsn, one, "dead")
        assert outcome(dsn, one)[2] == "unknown_outcome"

    work(dsn, tasks, story)
    assert sorted(type(each).__name__ for each in ends) == ["LeaseLost", "UnknownOutcome"]


def test_an_attempt_that_is_cancelled_while_it_asks_leaves_nothing_behind(
    dsn: str,
) -> None:
    tasks = Tasks()

    @tasks.task("send", timeout=1, max_attempts=1)
    async def send(ctx: Context, key: str, error: str = "") -> None:
        async with ctx.once(key):
            raise AssertionError("begun though its time was up")

    async def story() -> None:
        with psycopg.connect(dsn) as other:
            # Somebody has the row that is to be there, so that the entry has to wait for it.
            other.execute(
                "INSERT INTO pgqueue.effects VALUES ('send', 'k', gen_random_uuid(), 0, 0,"
                " gen_random_uuid(), now(), NULL, '1 d', NULL)"
            )
            (one,) = enqueue(dsn, job())
            await until_state(dsn, one, "dead")
            other.rollback()
        await until(lambda: not rows(dsn, "SELECT state FROM pgqueue.effects"))
        assert outcome(dsn, one)[2] == "timeout"

    work(dsn, tasks, story)


def test_a_connection_that_breaks_is_replaced(dsn: str, how: str) -> None:
    tasks, sent = Tasks(), list[str]()
    sending(tasks, sent, how)
    end = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name LIKE '%%effects%%'"
    )

    async def story() -> None:
        for key in ("a", "b"):
            (one,) = enqueue(dsn, job(key))
            await until_state(dsn, one, "succeeded", "dead")
            assert rows(dsn, end) == [(1,)]

    work(dsn, tasks, story)
    assert sent == ["a", "b"]


def test_a_job_that_is_finished_inside_has_done_it(dsn: str) -> None:
    tasks = Tasks(transaction=lambda: psycopg.connect(dsn))

    @tasks.task("send")
    def send(ctx: Context, key: str, error: str = "") -> None:
        with ctx.once(key), ctx.transaction():
            pass

    async def story() -> None:
        (one,) = enqueue(dsn, job())
        await until_state(dsn, one, "succeeded")
        await until(lambda: rows(dsn, "SELECT state FROM pgqueue.effects") == [("done",)])

    work(dsn, tasks, story)


def test_what_is_done_in_a_transaction_that_fails_stays_done(dsn: str) -> None:
    tasks, sent = Tasks(transaction=lambda: psycopg.connect(dsn)), list[str]()

    @tasks.task("send", transactional=True, backoff=Fixed(0))
    def send(ctx: Context, key: str, error: str = "") -> bool:
        ctx.connection.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        with ctx.once(key) as first:
            if first:
                sent.append(key)
        if ctx.attempt == 1:
            raise ValueError("rolled back")
        return first

    async def story() -> None:
        (one,) = enqueue(dsn, job())
        await until_state(dsn, one, "succeeded", "dead")
        assert outcome(dsn, one) == ("succeeded", False, None)

    work(dsn, tasks, story)
    assert sent == ["k"]


def test_a_worker_whose_jobs_do_nothing_outside_opens_no_connection_for_it(dsn: str) -> None:
    tasks = Tasks()

    @tasks.task("send")
    async def send(key: str, error: str) -> None: ...

    async def story() -> None:
        (one,) = enqueue(dsn, job())
        await until_state(dsn, one, "succeeded")
        seen = rows(
            dsn,
            "SELECT application_name FROM pg_stat_activity WHERE datname = current_database()",
        )
        assert [name for (name,) in seen if "effects" in name] == []

    work(dsn, tasks, story)


def test_on_the_event_loop_a_plain_with_is_refused(dsn: str) -> None:
    tasks = Tasks()

    @tasks.task("send", max_attempts=1)
    async def send(ctx: Context, key: str, error: str = "") -> None:
        with ctx.once(key):
            pass

    async def story() -> None:
        (one,) = enqueue(dsn, job())
        await until_state(dsn, one, "dead")
        ((said,),) = rows(dsn, "SELECT error FROM pgqueue.jobs WHERE id = %s", one)
        assert "async with" in said

    work(dsn, tasks, story)


# --- The statements -------------------------------------------------------------------------------


def test_a_stale_attempt_neither_begins_nor_ends(connection: Connection) -> None:
    add(connection)
    stale = claim_one(connection)
    call = str(uuid4())
    assert enter(connection, stale, entry(Word.BEGIN, call=call)).found is Found.FIRST
    for other in (stale._replace(attempt=stale.attempt + 1), stale._replace(id=stale.id + 1)):
        assert begin(connection, other).found is Found.LOST
        assert enter(connection, other, entry(Word.DONE, call=call)).found is Found.LOST
    assert begin(connection, stale, worker_id=OTHER_WORKER).found is Found.LOST
    lapse(connection)
    crash(connection)
    for word in (Word.BEGIN, Word.DONE, Word.UNDONE):
        assert enter(connection, stale, entry(word, call=call)).found is Found.LOST
    assert state_of(connection) == "started"


def test_a_call_that_was_taken_over_ends_nothing(connection: Connection) -> None:
    job, old = crash_inside(connection)
    found = begin(connection, job)
    assert found == Answer(Found.UNKNOWN, old, job.id, job.attempt - 1)
    call = str(uuid4())
    anew = entry(Word.ANEW, call=call, over=old)
    assert enter(connection, job, anew).found is Found.FIRST
    assert enter(connection, job, anew).found is Found.FIRST, "the answer was lost, say"
    late = entry(Word.ANEW, over=old)
    assert enter(connection, job, late).found is Found.UNKNOWN, "of two, one is too late"
    for word in (Word.DONE, Word.UNDONE):
        assert enter(connection, job, entry(word, call=old)).found is Found.LOST
        assert enter(connection, job, entry(word, call=old, anyway=True)).found is Found.LOST
    assert state_of(connection) == "started"
    assert enter(connection, job, entry(Word.DONE, call=call)).found is Found.DONE
    assert begin(connection, job).found is Found.DONE


def test_a_beginning_whose_answer_was_lost_can_be_repeated_and_withdrawn(
    connection: Connection,
) -> None:
    add(connection)
    job = claim_one(connection)
    beginning = entry(Word.BEGIN)
    for _ in range(2):
        assert enter(connection, job, beginning).found is Found.FIRST
    assert begin(connection, job).found is Found.UNKNOWN, "its own, and nobody knows"
    enter(connection, job, beginning.withdrawn)
    assert state_of(connection) is None


def test_what_happened_is_done_for_as_long_as_it_is_kept(connection: Connection) -> None:
    job, old = crash_inside(connection)
    assert enter(connection, job, entry(Word.HAPPENED, over=old)).found is Found.DONE
    assert begin(connection, job).found is Found.DONE
    run(connection, upkeep.prune(limit=10))
    assert state_of(connection) == "done"
    connection.execute("UPDATE pgqueue.effects SET expires_at = now() - interval '1 s'")
    assert begin(connection, job).found is Found.FIRST, "as if it had been pruned"
    run(connection, upkeep.prune(limit=10))
    assert state_of(connection) == "started", "what is unknown stays until somebody says"
    connection.execute("UPDATE pgqueue.effects SET done_at = now(), expires_at = now() - keep")
    assert run(connection, upkeep.prune(limit=10)) >= 1
    assert state_of(connection) is None


def test_of_many_that_begin_at_once_one_does(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        for _ in range(8):
            add(connection)
        claimed = claim(connection)
    barrier = threading.Barrier(len(claimed))

    def race(job: Job) -> Found:
        with psycopg.connect(dsn, autocommit=True) as own:
            barrier.wait(30)
            return begin(own, job).found

    with ThreadPoolExecutor(len(claimed)) as threads:
        found = list(threads.map(race, claimed))
    assert sorted(each.name for each in found) == ["FIRST"] + ["RUNNING"] * 7


def test_of_many_that_take_over_at_once_one_does(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        job, old = crash_inside(connection)
        for _ in range(7):
            add(connection)
        claimed = [job, *claim(connection)]
    barrier = threading.Barrier(len(claimed))

    def race(job: Job) -> Found:
        with psycopg.connect(dsn, autocommit=True) as own:
            barrier.wait(30)
            answer = enter(own, job, entry(Word.ANEW, over=old))
            while answer.found is Found.UNKNOWN:  # as the guard goes on
                answer = enter(own, job, entry(Word.ANEW, over=answer.call))
            return answer.found

    with ThreadPoolExecutor(len(claimed)) as threads:
        found = list(threads.map(race, claimed))
    assert sorted(each.name for each in found) == ["FIRST"] + ["RUNNING"] * 7


def test_a_task_never_meets_the_keys_of_another(connection: Connection) -> None:
    add(connection)
    add(connection, task="greet")
    one, other = claim_one(connection), claim_one(connection)
    assert {one.task, other.task} == {"work", "greet"}
    assert begin(connection, one).found is Found.FIRST
    assert begin(connection, other).found is Found.FIRST


@pytest.mark.parametrize("happened", [True, False])
def test_only_what_is_unknown_can_be_resolved(connection: Connection, happened: bool) -> None:
    def resolve(key: str = "k") -> str:
        return run(connection, effects.resolve("work", key, happened=happened, actor="ann"))

    assert resolve("never") == "unknown"
    add(connection)
    job = claim_one(connection)
    begin(connection, job)
    assert resolve() == "running"
    connection.execute(
        "UPDATE pgqueue.jobs SET state = 'dead', reason = 'timeout', lease_until = NULL"
    )
    assert resolve() == "resolved"
    assert state_of(connection) == ("done" if happened else None)
    assert resolve() == ("done" if happened else "unknown")
    said = connection.execute(
        "SELECT actor, job_id FROM pgqueue.audit WHERE verb = 'resolve_effect'"
    ).fetchall()
    assert said == [("ann", job.id)]


# --- In tests of applications, and what is refused ------------------------------------------------


@pytest.mark.parametrize("executor", ["thread", "process"])
def test_in_a_drain_it_is_kept_on_the_tests_own_connection(
    connection: Connection, executor: Any
) -> None:
    tasks = Tasks()

    @tasks.task("send", executor=executor)
    def send(key: str, error: str = "") -> bool:
        with current_job().once(key) as first:
            return first

    add(connection, task="send", args='{"key": "k"}')
    add(connection, task="send", args='{"key": "k"}')
    done = drain(connection, tasks)
    assert [attempt.result for attempt in done.attempts] == [True, False]
    assert state_of(connection) == "done"


def test_a_context_without_a_registrar_is_always_first(connection: Connection) -> None:
    add(connection)
    ctx = Context(claim_one(connection))
    for _ in range(2):
        with ctx.once("k") as first:
            assert first
    assert state_of(connection) is None


def test_a_key_that_the_job_is_inside_of_is_refused(connection: Connection) -> None:
    tasks = Tasks()

    @tasks.task("send", max_attempts=1)
    def send() -> None:
        with current_job().once("k"), current_job().once("k"):
            pass

    add(connection, task="send")
    with pytest.raises(PgqueueError, match="inside of it already"):
        drain(connection, tasks)


def test_what_makes_no_sense_is_refused(connection: Connection) -> None:
    add(connection)
    ctx = Context(claim_one(connection))
    for wrong in ("", None, "x" * 501, "a\0b"):
        with pytest.raises(InvalidOption, match="key"):
            ctx.once(wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match="undone_by"):
        ctx.once("k", undone_by=("ValueError",))  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match="keep"):
        ctx.once("k", keep=-1)
    with pytest.raises(InvalidOption, match="on_unknown"):
        Tasks().task("t", on_unknown=True)  # type: ignore[arg-type]


def test_the_error_says_what_to_do() -> None:
    error = UnknownOutcome("send", "k", job_id=7, attempt=2)
    assert "pgqueue effects resolve" in str(error)
    assert (error.job_id, error.attempt, error.key) == (7, 2, "k")
    assert Reason("unknown_outcome") is Reason.UNKNOWN_OUTCOME
    assert not isinstance(error, LeaseLost)


def test_a_wrong_resolution_is_refused_in_a_sentence(dsn: str) -> None:
    pgqueue = Command(dsn)
    said = pgqueue("effects", "resolve", "send", "k", "--happened", exits=1)
    assert "no such effect" in said.stderr
    assert "what you found out" in pgqueue("effects", "resolve", "send", "k", exits=2).stderr
    assert "nothing was begun" in pgqueue("effects", "list").stderr
