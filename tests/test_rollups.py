"""What is counted is what happened: under load, through folding, and after a worker was killed."""

import math
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest

from pgqueue.outcome import Succeeded
from pgqueue.storage import jobs, rollups, upkeep
from pgqueue.storage.drivers import run
from pgqueue.worker.clock import boottime
from pgqueue.worker.tally import BUCKETS, TELL_EVERY, Tally
from tests import rate_tasks as rate
from tests.crew import MOMENT, make
from tests.process import Stage
from tests.rows import add, claim, lapse

Connection = psycopg.Connection[Any]

COUNTS = (
    *("started", "succeeded", "failed", "timed_out", "crashed", "lost", "cancelled", "snoozed"),
    *("released", "retried", "dead"),
)
COUNTED = f"SELECT task, queue, {', '.join(COUNTS)} FROM pgqueue.task_stats"  # noqa: S608  fixed
RECOUNTED = """
WITH ended AS (
    SELECT queue, task, state AS outcome, 'over' AS fate FROM pgqueue.finished_jobs
    WHERE started_at IS NOT NULL
    UNION ALL
    SELECT each.queue, each.task, outcome, CASE
        WHEN outcome IN ('snoozed', 'released') THEN 'again'
        WHEN job.state = 'dead' AND job.attempt = each.attempt THEN 'dead' ELSE 'retried' END
    FROM pgqueue.attempts AS each LEFT JOIN pgqueue.jobs AS job ON job.id = each.job_id
)
SELECT task, queue,
    count(*), count(*) FILTER (WHERE outcome = 'succeeded'),
    count(*) FILTER (WHERE outcome = 'failed'), count(*) FILTER (WHERE outcome = 'timed_out'),
    count(*) FILTER (WHERE outcome = 'crashed'), count(*) FILTER (WHERE outcome = 'lost'),
    count(*) FILTER (WHERE outcome = 'cancelled'), count(*) FILTER (WHERE outcome = 'snoozed'),
    count(*) FILTER (WHERE outcome = 'released'),
    count(*) FILTER (WHERE fate = 'retried'), count(*) FILTER (WHERE fate = 'dead')
FROM ended GROUP BY task, queue
"""
TOLD = """
INSERT INTO pgqueue.tallies (at, queue, task, succeeded, failed, run, longest_run, runs)
SELECT now() - n * interval '37 s', 'q' || n % 2, 't' || n % 3, 1, n % 2, n, n, '{1,2}'
FROM generate_series(1, 500) AS n
"""
VIEWS = ("throughput", "hourly_throughput", "daily_throughput", "task_stats")
SUMS = """
SELECT sum(succeeded), sum(failed), sum(run), max(longest_run), pgqueue.sum_histograms(runs)
FROM {} WHERE {}
"""


@pytest.fixture
def stage(dsn: str, tmp_path: Path) -> Iterator[Stage]:
    with Stage(dsn, tmp_path) as stage:
        yield stage


def some_of_everything(stage: Stage, times: int) -> None:
    jobs = [
        job
        for _ in range(times)
        for job in (
            *(rate.succeed.job(), rate.succeed.job(seconds=0.02), rate.fail_twice.job()),
            *(rate.die.job(), rate.snooze.job(), rate.give_up.job(), rate.succeed_in_thread.job()),
        )
    ]
    random.shuffle(jobs)
    stage.enqueue(*jobs, *[rate.time_out.job() for _ in range(5)])


def sums(connection: Connection, table: str, condition: str = "true") -> tuple[Any, ...]:
    row = connection.execute(SUMS.format(table, condition)).fetchone()
    assert row
    return row


def test_acceptance_18_the_views_say_what_a_recount_says_under_load(stage: Stage) -> None:
    """Two workers, one of two processes; jobs that end in every way; counted while they are at it
    and after."""
    workers = [
        stage.start(
            tasks="tests.rate_tasks:tasks", processes=number, queues={"default": 20, "other": 5}
        )
        for number in (1, 2)
    ]
    some_of_everything(stage, 150)
    while stage.unfinished():
        finished = stage.value(
            "SELECT count(*) FROM pgqueue.finished_jobs WHERE state = 'succeeded'"
        )
        running, waiting = stage.sql(
            "SELECT sum(running)::int, sum(available)::int FROM pgqueue.queue_stats"
        )[0]
        counted = stage.value("SELECT coalesce(sum(succeeded), 0) FROM pgqueue.throughput")
        assert counted <= stage.value(
            "SELECT count(*) FROM pgqueue.finished_jobs WHERE state = 'succeeded'"
        )
        assert 0 <= running + waiting <= 7 * 150 + 5 - finished
    for worker in workers:
        worker.terminate()
    for worker in workers:
        assert worker.wait(30) == 0

    assert sorted(stage.sql(COUNTED)) == sorted(stage.sql(RECOUNTED))
    # Queue length and jobs in process, success and failure rate, mean processing time.
    stage.sql("SELECT pgqueue.enqueue('succeed') FROM generate_series(1, 7)")
    stats = {
        queue: rest
        for queue, *rest in stage.sql(
            "SELECT queue, available, running, dead, finished, success_rate::float8,"
            " failure_rate::float8, extract(epoch FROM avg_run)::float8 FROM pgqueue.queue_stats"
        )
    }
    recount = """
        SELECT count(*), avg((outcome = 'succeeded')::int)::float8,
            avg(extract(epoch FROM ended_at - started_at))::float8
        FROM (
            SELECT queue, state AS outcome, started_at, finished_at AS ended_at
            FROM pgqueue.finished_jobs
            UNION ALL SELECT queue, outcome, started_at, ended_at FROM pgqueue.attempts
        ) AS ended
        WHERE queue = %s AND outcome IN ('succeeded', 'failed', 'timed_out')
    """
    for queue, waiting, dead in (("default", 7, 5), ("other", 0, 150)):
        count, success, average = stage.sql(recount, queue)[0]
        assert stats[queue][:4] == [waiting, 0, dead, count]
        assert stats[queue][4] + stats[queue][5] == pytest.approx(1.0)
        assert stats[queue][4] == pytest.approx(success, abs=1e-6)
        assert stats[queue][6] == pytest.approx(average, rel=0.01)


def test_waits_are_those_of_the_jobs_that_were_started(stage: Stage) -> None:
    stage.sql(
        "SELECT pgqueue.enqueue('succeed', '{\"seconds\": 0}') FROM generate_series(1, 50) AS n"
    )
    stage.sql(
        "UPDATE pgqueue.jobs SET created_at = now() - interval '1 h',"
        " run_at = now() - interval '20 s' * (id % 5)"
    )
    worker = stage.start(tasks="tests.rate_tasks:tasks")
    stage.until_drained()
    worker.terminate()
    worker.wait(30)
    counted = stage.sql(
        "SELECT extract(epoch FROM avg_wait)::float8, extract(epoch FROM max_wait)::float8,"
        " extract(epoch FROM p50_wait)::float8 FROM pgqueue.task_stats"
    )[0]
    recounted = stage.sql(
        "SELECT avg(wait)::float8, max(wait)::float8, percentile_cont(0.5) WITHIN GROUP (ORDER BY"
        " wait)::float8 FROM (SELECT extract(epoch FROM started_at - greatest(run_at, created_at))"
        " AS wait FROM pgqueue.finished_jobs) AS waited"
    )[0]
    assert counted[:2] == pytest.approx(recounted[:2], abs=0.2)
    assert recounted[2] / 2 <= counted[2] <= recounted[2] * 2


def test_what_a_killed_worker_had_not_told_is_found_again_in_history(stage: Stage) -> None:
    """Its counts since it last told are lost, and no more than that; jobs it held are lost and
    taken back."""
    worker = stage.start(tasks="tests.rate_tasks:tasks", queues={"default": 20, "other": 5})
    some_of_everything(stage, 20)
    stage.until_drained()
    stage.until(lambda: stage.value("SELECT count(*) FROM pgqueue.tallies"))
    some_of_everything(stage, 20)
    stage.until_drained()
    worker.kill()
    told = stage.value("SELECT sum(succeeded) FROM pgqueue.throughput")
    happened = stage.value("SELECT count(*) FROM pgqueue.finished_jobs WHERE state = 'succeeded'")
    assert 0 < told < happened

    # Two hours pass: only hours that are over are compared.
    stage.sql(
        "WITH folded AS (DELETE FROM pgqueue.rollups RETURNING *) INSERT INTO pgqueue.tallies"
        " SELECT (json_populate_record(NULL::pgqueue.tallies, to_json(folded))).* FROM folded"
        " WHERE span = 'minute'"
    )
    stage.sql("UPDATE pgqueue.tallies SET at = at - interval '2 h'")
    stage.sql(
        "UPDATE pgqueue.finished_jobs SET started_at = started_at - interval '2 h',"
        " finished_at = finished_at - interval '2 h'"
    )
    stage.sql(
        "UPDATE pgqueue.attempts SET started_at = started_at - interval '2 h',"
        " ended_at = ended_at - interval '2 h'"
    )
    mended = stage.value("SELECT pgqueue.reconcile_rollups(now() - interval '4 h')")
    assert mended
    outcomes = ", ".join(f"sum({name})" for name in COUNTS[1:9])
    for span in ("minute", "hour", "day"):
        counted = stage.sql(
            f"SELECT task, queue, {outcomes} FROM pgqueue.rollups WHERE span = %s"  # noqa: S608
            " GROUP BY task, queue",
            span,
        )
        assert sorted(counted) == sorted((*row[:2], *row[3:11]) for row in stage.sql(RECOUNTED))
    ran, histogram = stage.sql(
        "SELECT sum(run), (SELECT sum(n) FROM unnest(pgqueue.sum_histograms(runs)) AS n)"
        " FROM pgqueue.rollups WHERE span = 'day'"
    )[0]
    really = stage.sql(
        "SELECT sum(extract(epoch FROM ended_at - started_at))::float8, count(*) FROM ("
        "SELECT started_at, finished_at AS ended_at FROM pgqueue.finished_jobs"
        " WHERE state = 'succeeded' UNION ALL SELECT started_at, ended_at FROM pgqueue.attempts"
        " WHERE outcome IN ('failed', 'timed_out')) AS ended"
    )[0]
    assert (ran, histogram) == pytest.approx(really, rel=0.05)
    assert stage.value("SELECT pgqueue.reconcile_rollups(now() - interval '4 h')") == 0


def test_history_that_knows_less_takes_nothing_away(connection: Connection) -> None:
    """Jobs that are not kept leave none."""
    connection.execute(TOLD)
    connection.execute("UPDATE pgqueue.tallies SET at = at - interval '2 h'")
    connection.execute("SELECT pgqueue.fold_tallies()")
    before = sums(connection, "pgqueue.rollups")
    row = connection.execute(
        "SELECT pgqueue.reconcile_rollups(now() - interval '1 day')"
    ).fetchone()
    assert row == (0,)
    assert sums(connection, "pgqueue.rollups") == before


def test_a_rescue_counts_what_was_lost_and_an_expiry_what_died(connection: Connection) -> None:
    for _ in range(3):
        add(connection, max_crashes=1)
    add(connection)
    late = add(connection, expires=1000)
    claim(connection, limit=4)
    connection.execute("UPDATE pgqueue.jobs SET expires_at = now() WHERE id = %s", [late])
    connection.execute(
        "UPDATE pgqueue.jobs SET cancel_requested_at = now() WHERE id = (SELECT min(id) FROM"
        " pgqueue.jobs WHERE state = 'running')"
    )
    lapse(connection)
    run(connection, jobs.rescue(limit=10))
    run(connection, jobs.expire(limit=10))
    row = connection.execute(
        "SELECT lost, retried, dead, cancelled, finished, failure_rate FROM pgqueue.task_stats"
    ).fetchone()
    assert row == (3, 1, 3, 1, 3, 1)


def test_what_is_fetched_by_hand_is_counted_too(connection: Connection) -> None:
    outcomes = ["succeeded", "failed", "dead", "cancelled", "released", "snoozed"]
    for outcome in outcomes:
        add(connection)
        connection.execute(
            "SELECT pgqueue.finish(id, attempt, worker_id, %s, delay => CASE WHEN %s IN"
            " ('failed', 'snoozed') THEN interval '1 h' END)"
            " FROM pgqueue.fetch('default') ORDER BY id LIMIT 1",
            [outcome, outcome],
        )
        connection.execute("UPDATE pgqueue.jobs SET queue = 'done' WHERE state = 'available'")
    assert sorted(connection.execute(COUNTED).fetchall()) == sorted(
        connection.execute(RECOUNTED).fetchall()
    )


def test_folding_changes_no_sum(connection: Connection) -> None:
    connection.execute(TOLD)
    told = sums(connection, "pgqueue.tallies")
    views = [
        connection.execute(f"SELECT * FROM pgqueue.{view} ORDER BY 1, 2, 3").fetchall()  # noqa: S608
        for view in (*VIEWS, "totals")
    ]
    for limit in (100, 7, 10_000):
        assert run(connection, rollups.fold(limit=limit)) == min(limit, 393)
    assert sums(connection, "pgqueue.tallies", "true")[0] is None
    for span in ("minute", "hour", "day", "ever"):
        assert sums(connection, "pgqueue.rollups", f"span = '{span}'") == told
    for view, before in zip((*VIEWS, "totals"), views, strict=True):
        after = connection.execute(
            f"SELECT * FROM pgqueue.{view} ORDER BY 1, 2, 3"  # noqa: S608
        ).fetchall()
        assert after == before


def test_any_number_of_workers_fold_at_once_and_nothing_is_counted_twice(dsn: str) -> None:
    def fold(_: int) -> int:
        with psycopg.connect(dsn, autocommit=True) as connection:
            return sum(run(connection, rollups.fold(limit=20)) for _ in range(40))

    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(TOLD)
        told = sums(connection, "pgqueue.tallies")
        with ThreadPoolExecutor(4) as pool:
            folded = sum(pool.map(fold, range(4)))
        folded += run(connection, rollups.fold(limit=1000))
        assert folded == 500
        assert sums(connection, "pgqueue.rollups", "span = 'hour'") == told


def test_rollups_are_forgotten_by_their_span(connection: Connection) -> None:
    connection.execute(
        "INSERT INTO pgqueue.rollups (span, at, queue, task)"
        " SELECT span, now() - age - over, 'q', 't' FROM (VALUES ('minute', interval '48 h'),"
        " ('hour', interval '30 d'), ('day', interval '2 y')) AS kept (span, age),"
        " unnest(ARRAY[interval '1 s', interval '-1 h']) AS over"
    )
    run(connection, upkeep.prune(limit=100))
    rows = connection.execute("SELECT span FROM pgqueue.rollups ORDER BY span").fetchall()
    assert rows == [("day",), ("hour",), ("minute",)]


def test_python_and_sql_put_a_time_into_the_same_bucket(connection: Connection) -> None:
    times = [0.0, 0.0005, 0.000999, 0.001, 0.0011, 0.002, 0.0039, 0.004, 1.0, 1.024, 60, 3600]
    times += [65_536.0, 67_108.863, 67_108.864, 86_400.0, 1e7]
    for seconds in times:
        tally = Tally()
        tally.end(Succeeded(make("echo"), 0.0, seconds, None))
        (row,) = tally.take()
        found = connection.execute("SELECT pgqueue.bucket(%s)", [seconds]).fetchone()
        assert found == (len(row["runs"]),), seconds
        assert len(row["runs"]) <= BUCKETS


def test_percentiles_are_within_a_factor_of_two(connection: Connection) -> None:
    chance = random.Random(7)
    for _ in range(20):
        times = sorted(chance.lognormvariate(-2, 1.5) for _ in range(chance.randint(1, 400)))
        tally = Tally()
        for seconds in times:
            tally.end(Succeeded(make("echo"), 0.0, seconds, None))
        (row,) = tally.take()
        found = connection.execute(
            "SELECT total, ARRAY(SELECT extract(epoch FROM b)::float8 FROM unnest(bounds) AS b)"
            " FROM pgqueue.percentiles(%s::bigint[], %s)",
            [row["runs"], row["longest_run"]],
        ).fetchone()
        assert found
        assert found[0] == len(times)
        for share, bound in zip((0.5, 0.95, 0.99), found[1], strict=True):
            really = times[max(0, math.ceil(len(times) * share) - 1)]
            assert really / 2 <= bound + 0.001
            assert bound <= times[-1] + 0.000001
            assert bound <= really * 2 + 0.001


def test_a_minute_is_the_databases(connection: Connection) -> None:
    """Whatever the wall clock of the worker's machine says."""
    tally = Tally()
    tally.synchronise(datetime(2040, 1, 1, 12, 0, 59, 500_000, tzinfo=UTC), boottime())
    now = boottime()
    tally.end(Succeeded(make("echo"), now - 0.2, now + 0.2, None))
    tally.end(Succeeded(make("echo"), now, now + 0.9, None))
    run(connection, rollups.tell(tally.take()))
    rows = connection.execute("SELECT at, succeeded FROM pgqueue.tallies ORDER BY at").fetchall()
    noon = datetime(2040, 1, 1, 12, 0, tzinfo=UTC)
    assert rows == [(noon, 1), (noon + timedelta(minutes=1), 1)]


@pytest.mark.parametrize("month", [3, 10], ids=["spring", "autumn"])
def test_a_wait_is_as_long_as_it_was_when_clocks_are_changed_meanwhile(month: int) -> None:
    zone = ZoneInfo("Europe/Berlin")
    noon = datetime(2026, month, 29 if month == 3 else 25, 12, tzinfo=zone)
    tally = Tally()
    tally.synchronise(noon, boottime())
    for hours in (0.25, 24):
        ready_at = (noon.astimezone(UTC) - timedelta(hours=hours)).astimezone(zone)
        job = make("echo")._replace(run_at=ready_at, created_at=ready_at)
        tally.start(job, boottime())
    (row,) = tally.take()
    assert row["wait"] == pytest.approx(24.25 * 3600, abs=5)


def test_what_was_taken_is_not_told_again() -> None:
    tally = Tally()
    assert not tally
    assert tally.due_in == float("inf")
    tally.start(make("echo")._replace(run_at=MOMENT), boottime())
    assert 0 < tally.due_in <= TELL_EVERY
    assert len(tally.take()) == 1
    assert tally.take() == []


def test_a_worker_goes_on_when_its_counts_are_refused(stage: Stage) -> None:
    stage.sql("ALTER TABLE pgqueue.tallies ADD CHECK (succeeded = 0)")
    worker = stage.start(tasks="tests.rate_tasks:tasks")
    stage.enqueue(*[rate.succeed.job() for _ in range(20)])
    stage.until_drained()
    stage.until(lambda: "counts of jobs could not be told" in worker.log)
    stage.enqueue(*[rate.succeed.job() for _ in range(20)])
    stage.until_drained()
    worker.terminate()
    assert worker.wait(20) == 0
    assert stage.states() == {"succeeded": 40}
