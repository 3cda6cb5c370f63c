"""Jobs fetched by hand: from Python on any connection, from psql, and from another language."""

import asyncio
import inspect
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row, namedtuple_row

import pgqueue
from pgqueue import (
    Cancel,
    Fail,
    InvalidOption,
    InvalidPayload,
    LeaseLost,
    NewJob,
    Retry,
    Snooze,
    Waiter,
    fetch,
)
from pgqueue.embedded.account import server_account
from pgqueue.embedded.binaries import find_binaries
from pgqueue.job import Reason
from pgqueue.outcome import Cancelled, Died, Failure, Outcome, Released, Retried, Snoozed, Succeeded
from pgqueue.storage import claiming, jobs
from pgqueue.storage.drivers import run
from pgqueue.storage.finishing import finish
from tests.connections import KINDS, Application, Kind
from tests.rows import WORKER, add, attempt_rows, claim_one, job_row, lapse

Connection = psycopg.Connection[Any]
EXAMPLE = Path(__file__).parents[1] / "examples" / "fetch_by_hand"


def taken(connection: Connection, *, queue: str = "default", **how: Any) -> list[Any]:
    """What SELECT * FROM pgqueue.fetch(...) returns."""
    with connection.cursor(row_factory=namedtuple_row) as cursor:
        call = f"SELECT * FROM pgqueue.fetch(%(queue)s{_named(how)})"  # noqa: S608  our own names
        return cursor.execute(call, {"queue": queue, **how}).fetchall()


def ended(connection: Connection, job: Any, outcome: str = "succeeded", **how: Any) -> bool:
    row = connection.execute(
        f"SELECT pgqueue.finish(%(id)s, %(attempt)s, %(worker)s, %(outcome)s{_named(how)})",
        {
            "id": job.id,
            "attempt": job.attempt,
            "worker": job.worker_id,
            "outcome": outcome,
            **how,
        },
    ).fetchone()
    assert row is not None
    return bool(row[0])


def _named(how: dict[str, Any]) -> str:
    return "".join(f", {name} => %({name})s" for name in how)


def extended(connection: Connection, job: Any, lease: str = "5 minutes") -> bool:
    row = connection.execute(
        "SELECT pgqueue.extend(%s, %s, %s, %s)", (job.id, job.attempt, job.worker_id, lease)
    ).fetchone()
    assert row is not None
    return bool(row[0])


# The claim


def test_the_most_urgent_jobs_come_first_and_each_call_is_a_worker_of_its_own(
    connection: Connection,
) -> None:
    later = add(connection, priority=50)
    urgent = add(connection, priority=1, args='{"n": 1}', metadata={"a": 1}, actor="ann")
    add(connection, delay=60)
    add(connection, queue="other")

    (first,) = taken(connection)
    (second,) = taken(connection, n=10)

    assert (first.id, second.id) == (urgent, later)
    assert (first.attempt, first.run, first.max_attempts, first.task) == (1, 1, 5, "work")
    assert (first.args, first.metadata) == ({"n": 1}, {"a": 1})
    assert (first.actor, first.priority) == ("ann", 1)
    assert first.worker_id != second.worker_id
    row = job_row(connection, urgent)
    assert (row.state, row.worker_id) == ("running", first.worker_id)
    assert row.lease_until - row.claimed_at == pytest.approx(
        timedelta(minutes=5), abs=timedelta(seconds=1)
    )
    assert taken(connection) == []


def test_what_a_worker_would_not_claim_is_not_fetched(connection: Connection) -> None:
    add(connection, queue="paused")
    connection.execute("SELECT pgqueue.pause('paused')")
    expired = add(connection, expires=60)
    connection.execute("UPDATE pgqueue.jobs SET expires_at = now() WHERE id = %s", [expired])
    add(connection, task="unknown")

    assert taken(connection, queue="paused") == []
    assert taken(connection, tasks=["work"]) == []
    (job,) = taken(connection, tasks=["work", "unknown"])
    assert job.task == "unknown"


def test_two_at_once_never_fetch_the_same(dsn: str) -> None:
    with psycopg.connect(dsn) as one, psycopg.connect(dsn) as two:
        ids = [add(one) for _ in range(3)]
        one.commit()
        assert [job.id for job in taken(one, n=2)] == ids[:2]
        assert [job.id for job in taken(two, n=2)] == ids[2:]


def test_a_suspect_is_fetched_alone_and_not_left_waiting(connection: Connection) -> None:
    """A queue that only scripts serve has nobody else who would try it again."""
    suspect = add(connection)
    taken(connection)
    lapse(connection)
    run(connection, jobs.rescue(limit=10))
    others = [add(connection, priority=1) for _ in range(2)]

    assert [(job.id, job.attempt) for job in taken(connection, n=10)] == [(suspect, 2)]
    assert [job.id for job in taken(connection, n=10)] == others


@pytest.mark.parametrize(
    ("how", "problem"),
    [
        ({"queue": None}, "queue must be"),
        ({"queue": ""}, "queue must be"),
        ({"n": 0}, "n must be from 1 to 1000, not 0"),
        ({"n": None}, "n must be from 1 to 1000, not NULL"),
        ({"n": 1001}, "n must be"),
        ({"lease": "0 s"}, "lease must be from 1 second to 30 days"),
        ({"lease": "-1 s"}, "lease must be"),
        ({"lease": None}, "lease must be"),
        ({"lease": "31 days"}, "lease must be"),
        ({"tasks": []}, "tasks must be"),
        ({"tasks": [None]}, "tasks must be"),
    ],
)
def test_nonsense_is_not_fetched(connection: Connection, how: dict[str, Any], problem: str) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=problem):
        taken(connection, **how)


# The finish is the worker's

WHEN = ("claimed_at", "started_at", "finished_at", "ended_at", "died_at", "run_at", "created_at")
FAILURE = Failure("KeyError", "no 'user' 17", "Traceback", "KeyError at f: no ? ?")
FAILED = {
    "error": FAILURE.message,
    "error_type": FAILURE.type,
    "traceback": FAILURE.traceback,
    "fingerprint": FAILURE.fingerprint,
}
NOW = (0.0, 0.0)
PAIRS: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "succeeded": (
        lambda job: Succeeded(job, *NOW, '{"a": 1}'),
        "succeeded",
        {"result": '{"a": 1}'},
    ),
    "succeeded without a result": (lambda job: Succeeded(job, *NOW, None), "succeeded", {}),
    "failed": (
        lambda job: Retried(job, *NOW, FAILURE, 90),
        "failed",
        {**FAILED, "delay": "90 s"},
    ),
    "failed, again at once": (
        lambda job: Retried(job, *NOW, FAILURE, 0),
        "failed",
        {**FAILED, "delay": "0 s"},
    ),
    "dead": (lambda job: Died(job, *NOW, FAILURE, Reason.NON_RETRYABLE), "dead", FAILED),
    "cancelled": (lambda job: Cancelled(job, *NOW, "by hand"), "cancelled", {"error": "by hand"}),
    "released": (lambda job: Released(job, *NOW, "later"), "released", {"error": "later"}),
    "snoozed": (lambda job: Snoozed(job, *NOW, 90), "snoozed", {"delay": "90 s"}),
}


def traces(connection: Connection, job_id: int, batch_id: int) -> dict[str, Any]:
    """All that is known of a job, without what differs between any two."""

    def rows(table: str, column: str = "id") -> list[dict[str, Any]]:
        with connection.cursor(row_factory=dict_row) as cursor:
            look = f"SELECT * FROM pgqueue.{table} WHERE {column} = %s"  # noqa: S608  as above
            found = cursor.execute(look, [job_id]).fetchall()
        return [_plain(row) for row in found]

    told = connection.execute(
        "SELECT succeeded, failed, cancelled FROM pgqueue.batch_outcomes WHERE batch_id = %s",
        [batch_id],
    ).fetchall()
    return {
        "live": rows("jobs"),
        "past": rows("finished_jobs"),
        "attempts": rows("attempts", "job_id"),
        "batch": told,
    }


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    for moment in WHEN:
        if row.get(moment) is not None:
            # To the minute: the two were made within the same second or two.
            row[moment] = round(row[moment].timestamp() / 60)
    for name in ("id", "job_id", "key", "batch_id"):
        row.pop(name, None)
    if row.get("worker_id") is not None:
        row["worker_id"] = "somebody"
    for each in row.get("history") or ():
        each.pop("ended_at")
    return row


@pytest.mark.parametrize("keep", [None, 0, pgqueue.Keep(succeeded=0, cancelled=864000)], ids=str)
@pytest.mark.parametrize("before", ["fresh", "failed before", "suspect"])
@pytest.mark.parametrize("name", PAIRS)
def test_it_leaves_the_same_traces_as_a_worker(
    connection: Connection, name: str, before: str, keep: Any
) -> None:
    make, outcome, how = PAIRS[name]
    ids = []
    for twin in (1, 2):
        (made,) = connection.execute(
            "SELECT id FROM pgqueue.enqueue_many(ARRAY['work'], ARRAY[%s], batch_id => %s)",
            ['{"n": 1}', twin],
        ).fetchone() or (0,)
        ids.append(made)
        kept = pgqueue.options.keeps(NewJob("work", keep=keep))
        connection.execute(
            "UPDATE pgqueue.jobs SET keep = coalesce(%s, keep), keep_cancelled = %s, actor = 'ann',"
            " metadata = '{\"m\": 1}', key = %s, failures = %s, crashes = %s WHERE id = %s",
            [
                None if kept.succeeded is None else timedelta(seconds=float(str(kept.succeeded))),
                None if kept.cancelled is None else timedelta(seconds=float(str(kept.cancelled))),
                f"key {twin}",
                2 if before == "failed before" else 0,
                1 if before == "suspect" else 0,
                made,
            ],
        )
    worked = claim_suspect(connection) if before == "suspect" else claim_one(connection)
    (by_hand,) = taken(connection)
    assert [worked.id, by_hand.id] == ids

    written: Outcome = make(worked)
    assert run(connection, finish([written], worker_id=WORKER, moment=0)) == {worked.id}
    assert ended(connection, by_hand, outcome, **how)

    connection.execute("UPDATE pgqueue.attempts SET started_at = ended_at")
    connection.execute("UPDATE pgqueue.finished_jobs SET started_at = finished_at")
    left, right = (traces(connection, each, twin) for twin, each in enumerate(ids, 1))
    assert left == right
    assert any(left.values()), "something must be left to compare"


def claim_suspect(connection: Connection) -> Any:
    (job,) = run(
        connection,
        claiming.claim_suspects(
            worker_id=WORKER,
            queues=["default"],
            tasks=["work"],
            lease=timedelta(seconds=30),
            few=1,
        ),
    )
    return job


def test_a_failure_is_charged_until_there_were_enough(connection: Connection) -> None:
    job_id = add(connection, max_attempts=2)
    (job,) = taken(connection)
    assert ended(connection, job, "failed", error="user 17 has no 'mail'")
    row = job_row(connection, job_id)
    assert (row.state, row.failures) == ("scheduled", 1)
    assert timedelta(seconds=1.5) < row.run_at - attempt_rows(connection, job_id)[0].ended_at
    assert row.run_at - attempt_rows(connection, job_id)[0].ended_at < timedelta(seconds=2.5)

    connection.execute("SELECT pgqueue.retry(%s)", [job_id])
    connection.execute("UPDATE pgqueue.jobs SET failures = 1")
    (job,) = taken(connection)
    assert ended(connection, job, "failed", error="user 18 has no 'mail'", delay="1 hour")
    row = job_row(connection, job_id)
    assert (row.state, row.reason, row.failures) == ("dead", "attempts_exhausted", 2)
    assert row.error == "user 18 has no 'mail'"
    assert row.fingerprint == "Error at : user ? has no ?"
    assert len(row.history) == 2


def test_the_backoff_is_the_default_of_tasks(connection: Connection) -> None:
    for failures, seconds in [(1, 2), (2, 4), (3, 8), (5, 32), (6, 60), (1000, 60)]:
        rows = connection.execute(
            "SELECT extract(epoch FROM pgqueue.backoff(%s)) FROM generate_series(1, 50)", [failures]
        ).fetchall()
        delays = [float(row[0]) for row in rows]
        assert seconds * 0.9 <= min(delays) < max(delays) <= seconds


@pytest.mark.parametrize(
    ("outcome", "how", "problem"),
    [
        ("done", {}, "outcome must be"),
        (None, {}, "outcome must be"),
        ("failed", {"result": "1"}, "only a job that succeeded has a result"),
        ("succeeded", {"error": "e"}, "has no error"),
        ("snoozed", {}, "needs a delay"),
        ("released", {"delay": "1 s"}, "only failed and snoozed"),
        ("failed", {"delay": "-1 s"}, "delay must be"),
        ("failed", {"delay": "200 years"}, "delay must be"),
        ("succeeded", {"result": json.dumps("x" * (1 << 20))}, "bytes are more than"),
    ],
)
def test_nonsense_is_not_written(
    connection: Connection, outcome: Any, how: dict[str, Any], problem: str
) -> None:
    add(connection)
    (job,) = taken(connection)
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=problem):
        ended(connection, job, outcome, **how)


def test_who_was_given_up_can_write_nothing(connection: Connection) -> None:
    job_id = add(connection)
    (lost,) = taken(connection)
    lapse(connection)
    run(connection, jobs.rescue(limit=10))
    assert not extended(connection, lost)
    assert not ended(connection, lost)
    (again,) = taken(connection)
    for outcome, how in [("succeeded", {}), ("failed", {}), ("snoozed", {"delay": "1 s"})]:
        assert not ended(connection, lost, outcome, **how)
    assert not ended(connection, again._replace(worker_id=uuid4()))
    assert not ended(connection, again._replace(attempt=again.attempt + 1))

    assert ended(connection, again)
    assert not ended(connection, again)
    assert job_row(connection, job_id).attempt == 2


def test_a_lease_can_be_extended(connection: Connection) -> None:
    job_id = add(connection)
    (job,) = taken(connection, lease="1 second")
    before = job_row(connection, job_id).lease_until
    assert extended(connection, job, "1 hour")
    assert job_row(connection, job_id).lease_until - before > timedelta(minutes=59)
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="lease"):
        extended(connection, job, "0 s")


def test_a_lease_is_extended_from_now_on_however_old_the_transaction(
    connection: Connection,
) -> None:
    job_id = add(connection)
    (job,) = taken(connection)
    connection.execute("SELECT pg_sleep(0.1)")
    assert extended(connection, job, "1 hour")
    left = connection.execute(
        "SELECT lease_until - now() FROM pgqueue.jobs WHERE id = %s", [job_id]
    ).fetchone()
    assert left
    assert left[0] >= timedelta(hours=1, seconds=0.1)


@pytest.mark.parametrize(
    ("outcome", "how"), [("failed", {}), ("released", {}), ("snoozed", {"delay": "1 s"})]
)
def test_what_somebody_wants_cancelled_is_not_put_back(
    connection: Connection, outcome: str, how: dict[str, Any]
) -> None:
    job_id = add(connection)
    (job,) = taken(connection)
    assert extended(connection, job)
    assert pgqueue.cancel(connection, job_id) == "requested"
    assert not extended(connection, job)
    assert ended(connection, job, outcome, **how)
    assert job_row(connection, job_id).state == "cancelled"


def test_whoever_waits_for_the_job_is_told(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from pgqueue.waiter import lookout

    monkeypatch.setattr(lookout, "_EVERY", 3600.0)
    monkeypatch.setattr(lookout, "_FIRST_STEP", 3600.0)
    with psycopg.connect(dsn, autocommit=True) as connection, Waiter(dsn) as waiter:
        for outcome in ("succeeded", "dead", "cancelled"):
            add(connection)
            (job,) = taken(connection)
            statuses = waiter.watch(job.id, timeout=60)
            assert next(iter(statuses)).state == "running"
            assert ended(connection, job, outcome)
            assert [status.state for status in statuses] == [outcome]


# In Python, on any connection


@pytest.fixture(params=KINDS.values(), ids=list(KINDS))
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def outside(dsn: str) -> Iterator[Connection]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture(params=[False, True], ids=["in a transaction", "autocommit"])
def application(request: pytest.FixtureRequest, kind: Kind, dsn: str) -> Iterator[Application]:
    with kind(dsn, autocommit=request.param) as application:
        yield application


def work(application: Application, body: Any, **how: Any) -> Any:
    """Fetch a job, and have *body* work on it; return what that returns."""
    if application._runner is None:
        with fetch(application.connection, "default", **how) as job:
            return body(job)

    async def story() -> Any:
        async with pgqueue.fetch_async(application.connection, "default", **how) as job:
            answer = body(job)
            return await answer if inspect.isawaitable(answer) else answer

    return application.do(story())


def test_the_end_of_the_block_finishes_the_job(
    application: Application, outside: Connection
) -> None:
    job_id = add(outside, args='{"n": 20}', metadata={"a": 1})

    def double(job: Any) -> str:
        assert (job.args, job.metadata, job.queue, job.run) == ({"n": 20}, {"a": 1}, "default", 1)
        job.result = {"doubled": job.args["n"] * 2}
        return str(job)

    assert work(application, double, tasks=["work"]) == f"work[{job_id}]"
    application.commit()

    row = job_row(outside, job_id)
    assert (row.state, row.result) == ("succeeded", {"doubled": 40})
    assert work(application, lambda job: job) is None


def test_nothing_happened_if_the_transaction_rolls_back(
    kind: Kind, dsn: str, outside: Connection
) -> None:
    job_id = add(outside)
    with kind(dsn) as application:
        work(application, lambda job: None)
        assert job_row(outside, job_id).state == "available", "claim and finish are not committed"
        assert outside.execute("SELECT FROM pgqueue.fetch('default')").fetchall() == []
        application.rollback()
    row = job_row(outside, job_id)
    assert (row.state, row.attempt) == ("available", 0)


def test_an_exception_fails_the_job_and_goes_on(
    application: Application, outside: Connection
) -> None:
    job_id = add(outside)

    def fail(job: Any) -> None:
        raise ValueError("no such user") from KeyError(17)

    with pytest.raises(ValueError, match="no such user") as raised:
        work(application, fail)
    assert isinstance(raised.value.__cause__, KeyError)
    assert not getattr(raised.value, "__notes__", [])
    application.commit()

    row = job_row(outside, job_id)
    assert (row.state, row.failures) == ("scheduled", 1)
    (attempt,) = attempt_rows(outside, job_id)
    assert (attempt.outcome, attempt.error_type, attempt.error) == (
        "failed",
        "ValueError",
        "no such user",
    )
    assert "in fail" in attempt.traceback


def test_nothing_is_written_in_a_transaction_that_has_failed(
    kind: Kind, dsn: str, outside: Connection
) -> None:
    job_id = add(outside)
    with kind(dsn) as application:

        def break_it(job: Any) -> Any:
            return application._execute("SELECT 1/0")

        with pytest.raises(Exception, match="division by zero") as raised:
            work(application, break_it)
        assert not getattr(raised.value, "__notes__", [])
        application.rollback()
    row = job_row(outside, job_id)
    assert (row.state, row.attempt, row.failures) == ("available", 0, 0)


@pytest.mark.parametrize(
    ("signal", "state", "outcomes"),
    [
        (Snooze(60), "scheduled", ["snoozed"]),
        (Retry(after=60), "scheduled", ["failed"]),
        (Fail("never"), "dead", ["failed"]),
        (Cancel("not wanted"), "cancelled", []),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_signal_does_what_it_does_in_a_worker(
    dsn: str, outside: Connection, signal: Exception, state: str, outcomes: list[str]
) -> None:
    job_id = add(outside)
    with psycopg.connect(dsn) as connection, fetch(connection, "default"):
        raise signal
    assert job_row(outside, job_id).state == state
    assert [attempt.outcome for attempt in attempt_rows(outside, job_id)] == outcomes


def test_what_is_no_error_gives_the_job_back(outside: Connection) -> None:
    job_id = add(outside)
    with pytest.raises(KeyboardInterrupt), fetch(outside, "default"):
        raise KeyboardInterrupt
    row = job_row(outside, job_id)
    assert (row.state, row.failures, row.attempt) == ("available", 0, 1)


@pytest.mark.parametrize(
    ("way", "raised"), [("end", LeaseLost), ("extend", LeaseLost), ("raise", ValueError)]
)
def test_a_lost_lease_is_said_when_it_is_extended_and_at_the_end(
    outside: Connection, way: str, raised: type[Exception]
) -> None:
    add(outside)

    def use() -> None:
        with fetch(outside, "default", lease=1) as job:
            assert job is not None
            job.extend()
            lapse(outside)
            run(outside, jobs.rescue(limit=10))
            if way == "extend":
                job.extend()
            if way == "raise":
                raise ValueError

    with pytest.raises(raised):
        use()


def test_a_script_notices_that_its_job_is_to_be_cancelled(outside: Connection) -> None:
    job_id = add(outside)
    reached = False
    with fetch(outside, "default") as job:
        assert job is not None
        pgqueue.cancel(outside, job_id)
        job.extend()
        reached = True
    assert not reached
    assert job_row(outside, job_id).state == "cancelled"


def test_a_coroutine_extends_as_well(dsn: str, outside: Connection) -> None:
    job_id = add(outside)

    async def story() -> None:
        async with (
            await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection,
            pgqueue.fetch_async(connection, "default", lease=1) as job,
        ):
            assert job is not None
            await job.extend_async(3600)
            row = job_row(outside, job_id)
            assert row.lease_until - row.claimed_at > timedelta(minutes=59)

    asyncio.run(story())


def test_the_lease_protects_the_job_after_a_commit_inside_the_block(
    dsn: str, outside: Connection
) -> None:
    job_id = add(outside)
    with psycopg.connect(dsn) as connection:
        with fetch(connection, "default") as job:
            assert job is not None
            connection.commit()
            assert job_row(outside, job_id).state == "running"
            assert taken(outside) == []
            job.result = 1
        connection.commit()
    assert job_row(outside, job_id).result == 1


def test_a_result_that_cannot_be_stored_fails_where_it_is_set(outside: Connection) -> None:
    job_id = add(outside)

    def use() -> None:
        with fetch(outside, "default") as job:
            assert job is not None
            job.result = object()

    with pytest.raises(InvalidPayload, match="result"):
        use()
    assert job_row(outside, job_id).state == "scheduled"


@pytest.mark.parametrize(
    ("how", "option"),
    [
        ({"queue": ""}, "queue"),
        ({"queue": None}, "queue"),
        ({"lease": 0}, "lease"),
        ({"lease": 31 * 86400}, "lease"),
        ({"tasks": "work"}, "tasks"),
        ({"tasks": []}, "tasks"),
    ],
)
def test_nonsense_is_refused_before_anything_is_sent(
    connection: Connection, how: dict[str, Any], option: str
) -> None:
    with (
        pytest.raises(InvalidOption, match=option),
        fetch(connection, **{"queue": "default", **how}),
    ):
        raise AssertionError("not reached")


# From elsewhere


def test_from_psql(dsn: str, outside: Connection) -> None:
    psql = find_binaries(server_account()).directory / "psql"
    if not psql.exists():
        pytest.skip("NO psql ON THIS MACHINE: fetching from it is not tested")
    ids = [add(outside, args=json.dumps({"n": n})) for n in range(2)]
    script = """
    \\set ON_ERROR_STOP on
    SELECT id, attempt, worker_id, args ->> 'n' AS n FROM pgqueue.fetch('default') \\gset
    SELECT pgqueue.finish(:id, :attempt, :'worker_id', result => json_build_object('n', :'n'));
    BEGIN;
    SELECT id, attempt, worker_id FROM pgqueue.fetch('default', lease => '1 minute') \\gset
    SELECT pgqueue.extend(:id, :attempt, :'worker_id', '10 minutes');
    SELECT pgqueue.finish(:id, :attempt, :'worker_id', 'dead', error => 'not this one');
    COMMIT;
    SELECT count(*) FROM pgqueue.fetch('default');
    """
    done = subprocess.run(
        [psql, "-X", "-q", "-A", "-t", "-d", dsn],
        input=script,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.split(), done.stderr) == (["t", "t", "t", "0"], "")
    assert job_row(outside, ids[0]).result == {"n": "0"}
    assert job_row(outside, ids[1]).error == "not this one"


def test_from_node(dsn: str, outside: Connection) -> None:
    node = shutil.which("node")
    probe = ["-e", "require.resolve('pg')"]
    if node is None or subprocess.run([node, *probe], capture_output=True, check=False).returncode:
        pytest.skip("NO node WITH pg: npm install pg somewhere, and NODE_PATH=.../node_modules")
    good = add(outside, task="resize", args='{"path": "a.png"}')
    bad = add(outside, task="resize", args='{"path": ""}')
    add(outside, task="other")
    done = subprocess.run(
        [node, str(EXAMPLE / "worker.js"), "--until-empty"],
        env={**os.environ, **_libpq(dsn)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert job_row(outside, good).result == {"resized": "a.png"}
    assert job_row(outside, bad).state == "scheduled"
    assert "no path" in attempt_rows(outside, bad)[0].error


def _libpq(dsn: str) -> dict[str, str]:
    """The variables by which any client finds a database."""
    given = conninfo_to_dict(dsn)
    names = {"PGHOST": "host", "PGPORT": "port", "PGDATABASE": "dbname", "PGUSER": "user"}
    return {name: str(given[key]) for name, key in names.items() if given.get(key)}
