"""History is kept for as long as each job says, and forgotten by the partition."""

import asyncio
import uuid
from datetime import timedelta

import psycopg
import pytest

import pgqueue
from pgqueue import Keep, NewJob, Tasks
from pgqueue.outcome import Succeeded
from pgqueue.storage import jobs, upkeep
from pgqueue.storage.drivers import run
from pgqueue.storage.finishing import finish
from pgqueue.worker import Settings, Worker

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
    claimed = run(
        connection,
        jobs.claim(
            worker_id=worker_id, limits={"default": 10}, tasks=["work"], lease=timedelta(minutes=1)
        ),
    )
    outcomes = [Succeeded(job, 0.0, 0.0, None) for job in claimed]
    assert len(run(connection, finish(outcomes, worker_id=worker_id, moment=0.0))) == len(claimed)


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


@pytest.mark.parametrize("leaf", ["finished_jobs", "jobs", "finished_jobs_default", "audit"])
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


def test_a_job_that_is_kept_for_no_time_leaves_no_row(connection: psycopg.Connection) -> None:
    me = str(uuid.uuid4())
    kept = pgqueue.enqueue(connection, NewJob("t"))
    pgqueue.enqueue(connection, NewJob("t", keep=0))
    claim = jobs.claim(
        worker_id=me, limits={"default": 2}, tasks=["t"], lease=timedelta(seconds=30)
    )
    done = [Succeeded(job, 0.0, 0.0, None) for job in run(connection, claim)]

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
