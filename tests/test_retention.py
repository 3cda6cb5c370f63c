"""History is kept for as long as each job says, and forgotten by the partition."""

import asyncio
import uuid
from datetime import timedelta

import psycopg
import pytest
from psycopg import sql

import pgqueue
from pgqueue import Keep, NewJob, Tasks
from pgqueue.outcome import Failure, Outcome, Retried, Succeeded
from pgqueue.storage import claiming, upkeep, verbs
from pgqueue.storage.drivers import run
from pgqueue.storage.finishing import finish
from pgqueue.worker import Settings, Worker
from tests.rows import WORKER, claim

pytestmark = pytest.mark.smoke

FINISH = """
INSERT INTO pgqueue.finished_jobs (
    id, attempt, created_at, run_at, finished_at, expires_on, failures, crashes, max_attempts,
    priority, state, queue, task, args
) VALUES (
    %s, 1, now(), now(), now(), pgqueue.expiry(%s), 0, 0, 5, 100, 'succeeded', 'default', 't', '{}'
)
"""


def home_of(connection: psycopg.Connection, job_id: int) -> str:
    """The partition that holds a finished job."""
    row = connection.execute(
        "SELECT tableoid::regclass::text FROM pgqueue.finished_jobs WHERE id = %s", (job_id,)
    ).fetchone()
    assert row is not None
    return str(row[0])


def claim_and_succeed(connection: psycopg.Connection) -> None:
    worker_id = str(uuid.uuid4())
    claim = run(
        connection,
        claiming.claim(
            worker_id=worker_id, limits={"default": 10}, tasks=["work"], lease=timedelta(minutes=1)
        ),
    )
    outcomes = [Succeeded(job, 0.0, 0.0, None) for job in claim.jobs]
    assert len(run(connection, finish(outcomes, worker_id=worker_id, moment=0.0))) == len(
        claim.jobs
    )


def test_the_default_retention_has_its_partitions_two_weeks_ahead(
    connection: psycopg.Connection,
) -> None:
    connection.execute(FINISH, (1, "7 days"))
    assert home_of(connection, 1).startswith("pgqueue.finished_jobs_2")
    missing = connection.execute(
        "SELECT day FROM pgqueue.days_needed('finished_jobs', 14) AS day"
        " WHERE to_regclass('pgqueue.finished_jobs' || to_char(day, '_YYYYMMDD')) IS NULL"
    ).fetchall()
    assert missing == []


def test_a_retention_of_a_jobs_own_falls_into_the_net_and_is_moved_out_of_it(
    connection: psycopg.Connection,
) -> None:
    connection.execute(FINISH, (1, "3 days"))
    connection.execute(FINISH, (2, "400 days"))
    assert home_of(connection, 1) == "pgqueue.finished_jobs_default"

    assert run(connection, upkeep.make_partitions()) == 2

    assert home_of(connection, 1).startswith("pgqueue.finished_jobs_2")
    assert home_of(connection, 2).endswith("01"), "long retention ends on the first of a month"
    assert run(connection, upkeep.make_partitions()) == 0


def test_history_whose_day_has_come_is_forgotten_and_no_other(
    connection: psycopg.Connection,
) -> None:
    connection.execute(FINISH, (1, "7 days"))
    connection.execute(
        FINISH.replace("pgqueue.expiry(%s)", "(now() AT TIME ZONE 'UTC')::date - %s"), (2, 3)
    )
    run(connection, upkeep.make_partitions())

    assert run(connection, upkeep.forget_partitions()) == 1

    rows = connection.execute("SELECT id FROM pgqueue.finished_jobs").fetchall()
    assert rows == [(1,)]


def test_what_jobs_logged_is_forgotten_with_their_attempts(
    connection: psycopg.Connection,
) -> None:
    line = (
        "INSERT INTO pgqueue.job_logs (job_id, attempt, n, at, expires_on, level, message)"
        " VALUES (%s, 1, 1, now(), pgqueue.attempt_expiry() - %s::integer, 'INFO', 'x')"
    )
    for job_id, days in ((1, 0), (2, 1), (3, 40)):
        connection.execute(line, (job_id, days))
    homes = "SELECT tableoid::regclass::text FROM pgqueue.job_logs ORDER BY job_id"
    first, *strayed = [row[0] for row in connection.execute(homes)]
    assert first.startswith("pgqueue.job_logs_2")
    assert strayed == ["pgqueue.job_logs_default"] * 2

    assert run(connection, upkeep.make_partitions()) == 2
    assert run(connection, upkeep.forget_partitions()) == 1

    assert [row[0].startswith("pgqueue.job_logs_2") for row in connection.execute(homes)] == [
        True,
        True,
    ]


@pytest.mark.parametrize(
    "leaf", ["finished_jobs", "job_logs", "jobs", "finished_jobs_default", "audit"]
)
def test_only_a_partition_of_history_can_be_forgotten(
    connection: psycopg.Connection, leaf: str
) -> None:
    with pytest.raises(psycopg.errors.RaiseException, match="not a partition"):
        connection.execute("SELECT pgqueue.forget_partition(%s)", (leaf,))


def test_partitions_are_made_and_forgotten_beside_an_open_finish_and_an_open_reader(
    dsn: str,
) -> None:
    with (
        psycopg.connect(dsn) as finishing,
        psycopg.connect(dsn) as reading,
        psycopg.connect(dsn, autocommit=True) as upkeeping,
    ):
        upkeeping.execute(FINISH, (3, "2 days"))
        upkeeping.execute(
            FINISH.replace("pgqueue.expiry(%s)", "(now() AT TIME ZONE 'UTC')::date - %s"), (2, 3)
        )
        run(upkeeping, upkeep.make_partitions())
        finishing.execute(FINISH, (1, "7 days"))
        reading.execute("SELECT count(*) FROM pgqueue.finished_jobs WHERE id = 1")

        upkeeping.execute("INSERT INTO pgqueue.queues (name, keep) VALUES ('long', '20 days')")
        upkeeping.execute("SET statement_timeout = '20s'")
        run(upkeeping, upkeep.make_partitions())
        run(upkeeping, upkeep.forget_partitions())  # the open reader keeps the leaf: next time

        with psycopg.connect(dsn, autocommit=True) as another:
            another.execute("SET statement_timeout = '2s'")
            another.execute(FINISH, (4, "7 days"))  # nobody queued behind the open ones
        finishing.commit()
        reading.rollback()
        assert run(upkeeping, upkeep.forget_partitions()) == 1
        run(upkeeping, upkeep.make_partitions())
        rows = upkeeping.execute("SELECT id FROM pgqueue.finished_jobs ORDER BY id").fetchall()
        assert rows == [(1,), (3,), (4,)]


def count_in(connection: psycopg.Connection, leaf: str) -> int | None:
    """The rows of a partition; None if it is gone."""
    if connection.execute("SELECT to_regclass(%s)", (f"pgqueue.{leaf}",)).fetchone() == (None,):
        return None
    row = connection.execute(
        sql.SQL("SELECT count(*) FROM pgqueue.{}").format(sql.Identifier(leaf))
    ).fetchone()
    assert row
    return int(row[0])


@pytest.mark.parametrize("table", ["finished_jobs", "attempts"])
def test_history_is_emptied_on_its_day_beside_an_open_finish_which_nobody_waits_for(
    dsn: str, table: str
) -> None:
    """The finish holds the parents of both tables until it commits: the leaf is emptied all the
    same, and taken away afterwards. An open reader of the leaf puts off both, and stops nobody."""
    leaf = f"{table}_20010101"
    with (
        psycopg.connect(dsn) as finishing,
        psycopg.connect(dsn) as reading,
        psycopg.connect(dsn, autocommit=True) as upkeeping,
        psycopg.connect(dsn, autocommit=True) as another,
    ):
        for each in (upkeeping, another):
            each.execute("SET statement_timeout = '5s'")
        upkeeping.execute("SELECT pgqueue.make_partition(%s, '2001-01-01')", (table,))
        if table == "attempts":
            upkeeping.execute(
                "INSERT INTO pgqueue.attempts (job_id, attempt, ended_at, expires_on, outcome,"
                " queue, task) VALUES (1, 1, now(), '2001-01-01', 'failed', 'q', 't')"
            )
        else:
            upkeeping.execute(FINISH.replace("pgqueue.expiry(%s)", "%s"), (1, "2001-01-01"))
        assert count_in(upkeeping, leaf) == 1
        for _ in range(4):
            pgqueue.enqueue(upkeeping, NewJob("work"))
        for outcome in claimed_outcomes(upkeeping, 2):
            run(finishing, finish([outcome], worker_id=WORKER, moment=0.0))

        reading.execute(sql.SQL("SELECT FROM pgqueue.{}").format(sql.Identifier(leaf)))
        assert run(upkeeping, upkeep.forget_partitions()) == 0
        assert count_in(upkeeping, leaf) == 1, "it is being read"
        reading.rollback()

        assert run(upkeeping, upkeep.forget_partitions()) == 0
        assert count_in(upkeeping, leaf) == 0, "emptied, though a finish is open"
        for outcome in claimed_outcomes(another, 2):
            run(another, finish([outcome], worker_id=WORKER, moment=0.0))
        finishing.commit()

        assert run(upkeeping, upkeep.forget_partitions()) == 1
        assert count_in(upkeeping, leaf) is None
        row = upkeeping.execute("SELECT count(*) FROM pgqueue.finished_jobs").fetchone()
        assert row == (2,)


def claimed_outcomes(connection: psycopg.Connection, limit: int) -> list[Outcome]:
    """Claim jobs; the first will have succeeded, the others failed: each table gets a row."""
    first, *others = claim(connection, limit=limit)
    return [
        Succeeded(first, 0.0, 0.0, None),
        *(Retried(job, 0.0, 0.0, Failure("E", "e", None, "e"), 0.0) for job in others),
    ]


def test_what_a_queue_keeps_of_each_outcome_has_its_partitions_ahead(
    connection: psycopg.Connection,
) -> None:
    """Set by the verb, made by the chore: no row of it ever falls into the net."""
    settings = '{"keep": "3 days", "keep_cancelled": "2 days", "keep_dead": "1 day"}'
    run(connection, verbs.set_queue("brief", settings, actor="ann"))
    assert run(connection, upkeep.make_partitions()) > 0

    done, cancelled, dead = (
        pgqueue.enqueue(connection, NewJob("work", queue="brief")).id for _ in range(3)
    )
    (job,) = claim(connection, limit=1, queues=["brief"])
    assert job.id == done
    run(connection, finish([Succeeded(job, 0.0, 0.0, None)], worker_id=WORKER, moment=0.0))
    assert pgqueue.cancel(connection, cancelled) == "cancelled"
    connection.execute(
        "UPDATE pgqueue.jobs SET state = 'dead', reason = 'timeout',"
        " died_at = now() - interval '25 hours' WHERE id = %s",
        (dead,),
    )
    assert run(connection, upkeep.prune(limit=100)) == 1

    kept = connection.execute(
        "SELECT id, state, expires_on - (now() AT TIME ZONE 'UTC')::date - 1"
        " FROM pgqueue.finished_jobs ORDER BY id"
    ).fetchall()
    assert kept == [(done, "succeeded", 3), (cancelled, "cancelled", 2), (dead, "discarded", 2)]
    for job_id in (done, cancelled, dead):
        assert home_of(connection, job_id).startswith("pgqueue.finished_jobs_2")


@pytest.mark.parametrize(
    ("keep", "left"),
    [
        (Keep(succeeded=0), []),
        (Keep(succeeded=0, cancelled=60), ["cancelled"]),
        (Keep(cancelled=0), ["succeeded"]),
        (Keep(succeeded=60, cancelled=60), ["cancelled", "succeeded"]),
    ],
)
def test_zero_leaves_no_row_of_that_outcome(
    connection: psycopg.Connection, keep: Keep, left: list[str]
) -> None:
    """A cancelled job whose own time is not said is kept like a succeeded one."""
    _, cancelled = pgqueue.enqueue_many(connection, [NewJob("work", keep=keep)] * 2)
    pgqueue.cancel(connection, cancelled.id)
    claim_and_succeed(connection)
    rows = connection.execute("SELECT state FROM pgqueue.finished_jobs ORDER BY state").fetchall()
    assert [row[0] for row in rows] == left


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ('{"keeep": "3 days"}', "no setting 'keeep'"),
        ('{"keep": "-1 day"}', "queues_keep"),
        ('{"max_attempts": 0}', "queues_max_attempts"),
        ('{"priority": -1}', "queues_priority"),
        ('{"timeout": "0 s"}', "queues_timeout"),
        ('{"keep": "soon"}', "invalid input syntax"),
    ],
)
def test_a_setting_that_no_job_could_have_is_refused(
    connection: psycopg.Connection, settings: str, error: str
) -> None:
    with pytest.raises(psycopg.Error, match=error):
        run(connection, verbs.set_queue("q", settings))


def test_a_setting_that_is_not_named_stays_and_null_takes_it_back(
    connection: psycopg.Connection,
) -> None:
    for settings in (
        '{"priority": 7, "timeout": "none", "keep": "3 days", "max_crashes": 9}',
        '{"timeout": "1 min", "keep": null, "max_attempts": 2}',
    ):
        run(connection, verbs.set_queue("q", settings, actor="ann", reason="busy"))
    row = connection.execute(
        "SELECT priority, timeout_ms, keep, max_crashes, max_attempts FROM pgqueue.queues"
    ).fetchone()
    assert row == (7, 60_000, None, 9, 2)
    audit = connection.execute(
        "SELECT verb, actor, queue, reason, detail -> 'priority' FROM pgqueue.audit"
        " WHERE verb = 'set' ORDER BY id"
    ).fetchall()
    assert audit == [("set", "ann", "q", "busy", 7), ("set", "ann", "q", "busy", None)]


def test_a_job_that_is_kept_for_no_time_leaves_no_row(connection: psycopg.Connection) -> None:
    me = str(uuid.uuid4())
    kept = pgqueue.enqueue(connection, NewJob("t"))
    pgqueue.enqueue(connection, NewJob("t", keep=0))
    claim = claiming.claim(
        worker_id=me, limits={"default": 2}, tasks=["t"], lease=timedelta(seconds=30)
    )
    done = [Succeeded(job, 0.0, 0.0, None) for job in run(connection, claim).jobs]

    assert len(run(connection, finish(done, worker_id=me, moment=0.0))) == 2

    assert connection.execute("SELECT id FROM pgqueue.finished_jobs").fetchall() == [(kept.id,)]
    assert connection.execute("SELECT count(*) FROM pgqueue.jobs").fetchone() == (0,)


def test_history_is_kept_by_what_became_of_the_job(connection: psycopg.Connection) -> None:
    keep = Keep(succeeded=0, cancelled=timedelta(days=3))
    done, cancelled = (
        job.id for job in pgqueue.enqueue_many(connection, [NewJob("work", keep=keep)] * 2)
    )
    assert pgqueue.cancel(connection, cancelled) == "cancelled"
    claim_and_succeed(connection)

    kept = connection.execute(
        "SELECT id, expires_on - finished_at::date FROM pgqueue.finished_jobs"
    ).fetchall()
    assert [row[0] for row in kept] == [cancelled]
    assert kept[0][1] in (3, 4)
    assert home_of(connection, cancelled).startswith("pgqueue.finished_jobs")
    assert not connection.execute("SELECT FROM pgqueue.all_jobs WHERE id = %s", (done,)).fetchall()


def test_dead_jobs_wait_for_ever_unless_told_otherwise(connection: psycopg.Connection) -> None:
    forever, briefly, longer = (
        pgqueue.enqueue(connection, NewJob("work", keep=keep)).id
        for keep in (None, Keep(dead=timedelta(days=1)), Keep(dead=timedelta(days=99)))
    )
    connection.execute(
        "UPDATE pgqueue.jobs SET state = 'dead', reason = 'timeout',"
        " died_at = now() - interval '2 days'"
    )

    assert run(connection, upkeep.prune(limit=100)) == 1

    left = connection.execute("SELECT id, state FROM pgqueue.all_jobs ORDER BY id").fetchall()
    assert left == [(forever, "dead"), (briefly, "discarded"), (longer, "dead")]
    said = connection.execute(
        "SELECT actor FROM pgqueue.audit WHERE job_id = %s", (briefly,)
    ).fetchall()
    assert said == [("retention",)]


NETS = ("finished_jobs_default", "attempts_default")


def drop_partitions(connection: psycopg.Connection) -> None:
    """All there are, the nets included."""
    leaves = connection.execute(
        "SELECT inhrelid::regclass::text FROM pg_inherits"
        " WHERE inhparent IN ('pgqueue.finished_jobs'::regclass, 'pgqueue.attempts'::regclass)"
    ).fetchall()
    for (leaf,) in leaves:
        connection.execute(f"DROP TABLE {leaf}")


def test_a_net_that_somebody_dropped_is_made_anew(connection: psycopg.Connection) -> None:
    drop_partitions(connection)
    assert run(connection, upkeep.make_partitions()) > 0
    for net in NETS:
        row = connection.execute(
            "SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE oid = %s::regclass",
            [f"pgqueue.{net}"],
        ).fetchone()
        assert row == ("DEFAULT",)


def test_a_worker_makes_the_partitions_that_its_outcomes_lack(dsn: str) -> None:
    assert work_without_partitions(dsn) == 0


def test_partitions_that_cannot_be_made_are_a_bug_and_no_endless_loop(dsn: str) -> None:
    code = work_without_partitions(
        dsn,
        "CREATE OR REPLACE FUNCTION pgqueue.make_partitions(days_ahead integer DEFAULT 14)"
        " RETURNS bigint LANGUAGE sql RETURN 0",
    )
    assert code == 70


def test_a_worker_runs_jobs_though_history_cannot_be_moved_into_its_partitions_in_time(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As where millions of rows fell into the net, while no worker was there to make any."""
    tasks = Tasks()
    done = asyncio.Event()

    @tasks.task("work")
    async def work() -> None:
        done.set()

    async def run_it() -> None:
        async with asyncio.timeout(30), Worker(tasks, dsn, Settings()):
            await done.wait()

    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "CREATE OR REPLACE FUNCTION pgqueue.make_partitions(days_ahead integer DEFAULT 14)"
            " RETURNS bigint LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'in vain' USING ERRCODE = 'query_canceled'; END $$"
        )
        pgqueue.enqueue(connection, work.job())
    asyncio.run(run_it())
    assert "pgqueue.make_partitions() by hand" in caplog.text


def work_without_partitions(dsn: str, prepare: str = "SELECT") -> int:
    """Run a job whose worker loses every partition while it runs; return the worker's exit code."""
    tasks = Tasks()
    started, go_on = asyncio.Event(), asyncio.Event()

    @tasks.task("slow")
    async def slow() -> None:
        started.set()
        await go_on.wait()

    async def work(connection: psycopg.Connection) -> int:
        worker = Worker(tasks, dsn, Settings(maintenance=False, grace=timedelta(seconds=1)))
        running = asyncio.create_task(worker.run())
        async with asyncio.timeout(30):
            await started.wait()
            connection.execute(prepare)
            drop_partitions(connection)
            go_on.set()
            while not running.done() and worker.parts.holdings:
                await asyncio.sleep(0.01)
            worker.stop()
            return await running

    with psycopg.connect(dsn, autocommit=True) as connection:
        pgqueue.enqueue(connection, slow.job())
        return asyncio.run(work(connection))
