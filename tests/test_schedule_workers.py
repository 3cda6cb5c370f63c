"""Schedules and workers: many at once, killed ones, ones whose clocks are wrong."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest

from pgqueue import Context, NewJob, Tasks
from pgqueue.storage import schedules
from pgqueue.storage.drivers import run
from pgqueue.worker import Settings, Worker
from pgqueue.worker.session import Session
from pgqueue.worker.ticker import Ticker
from tests.process import Stage
from tests.scheduling import behind, gaps, jobs, look, outcomes, row, save
from tests.worker_tasks import tasks as worker_tasks

QUICK = Settings(poll=timedelta(milliseconds=100))
# Makes whoever ticks schedule "stuck" wait in its transaction for as long as there is a row here.
HANG = """
CREATE TABLE hang ();
INSERT INTO hang DEFAULT VALUES;
CREATE FUNCTION hang() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    WHILE EXISTS (SELECT FROM hang) LOOP
        PERFORM pg_sleep(0.02);
    END LOOP;
    RETURN NEW;
END
$$;
CREATE TRIGGER hang BEFORE INSERT ON pgqueue.ticks FOR EACH ROW EXECUTE FUNCTION hang()
"""
HANGING = """
SELECT pid FROM pg_stat_activity
WHERE application_name = 'pgqueue:maintenance' AND query LIKE '%%pgqueue.tick(%%'
    AND state = 'active' AND datname = current_database() AND xact_start < now() - '0.2 s'::interval
"""


@pytest.fixture
def stage(dsn: str, tmp_path: Path) -> Iterator[Stage]:
    with Stage(dsn, tmp_path) as stage:
        yield stage


@pytest.fixture
def database(dsn: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


def scheduled(stage: Stage) -> list[tuple[int, datetime]]:
    return stage.sql(
        "SELECT schedule_id, scheduled_for FROM pgqueue.all_jobs WHERE schedule_id IS NOT NULL"
    )


def test_acceptance_13_four_workers_starting_at_once_make_one_job_of_each_tick(
    stage: Stage, database: psycopg.Connection[Any]
) -> None:
    count = 200
    for n in range(count):
        save(database, f"s{n}", overlap="allow", job=NewJob("unknown to them"))
        behind(database, f"s{n}", seconds=60)
    workers = [stage.start() for _ in range(4)]
    stage.ready(*workers)
    stage.until(lambda: not look(database))
    assert len({schedule_id for schedule_id, _ in scheduled(stage)}) == count

    with psycopg.connect(stage.dsn) as connection:  # all at once, now that all four are there
        for n in range(count):
            save(connection, f"t{n}", overlap="allow", job=NewJob("unknown to them"))
            behind(connection, f"t{n}", seconds=60)
    stage.until(lambda: not look(database))
    made = scheduled(stage)
    assert len({schedule_id for schedule_id, _ in made}) == 2 * count
    assert len(set(made)) == len(made)
    assert sorted(made) == sorted(stage.sql("SELECT schedule_id, tick_at FROM pgqueue.ticks"))
    assert all(worker.exit_code is None for worker in workers)


def test_after_ten_ticks_with_all_workers_down_each_policy_does_what_it_says(
    stage: Stage, database: psycopg.Connection[Any]
) -> None:
    """Hourly ones, so that none falls due meanwhile: the last is half an hour late."""
    (begin,) = database.execute("SELECT clock_timestamp() - interval '10 hours'").fetchone()  # type: ignore[misc]
    for misfire in ("skip", "one", "all"):
        save(
            database,
            misfire,
            every=3600,
            start_at=begin + timedelta(minutes=30),
            misfire=misfire,
            job=NewJob("unknown to them"),
            overlap="allow",
        )
        behind(database, misfire, hours=10)
    stage.start()
    stage.start()
    stage.until(lambda: not look(database))
    ran = [job.metadata["schedule"]["name"] for job in jobs(database)]
    assert {name: ran.count(name) for name in ("skip", "one", "all")} == {
        "skip": 0,
        "one": 1,
        "all": 10,
    }
    hours = {gap[2]: (gap[1] - gap[0]) / timedelta(hours=1) for gap in gaps(database)}
    assert hours == {10: 9.0, 9: 8.0}


@pytest.mark.parametrize("noticed", [True, False], ids=["its server knows", "its server does not"])
def test_a_worker_killed_between_tick_and_commit_leaves_one_job(
    stage: Stage, database: psycopg.Connection[Any], noticed: bool
) -> None:
    """Nothing of its transaction is there, or all of it; the next worker makes up for the first."""
    database.execute(HANG)
    save(database, job=NewJob("unknown to them"), overlap="allow", every=3600)
    behind(database, hours=1)
    doomed = stage.start()
    stage.until(lambda: stage.sql(HANGING))
    ((backend,),) = stage.sql(HANGING)
    doomed.kill()
    assert scheduled(stage) == []

    if noticed:
        database.execute("SELECT pg_terminate_backend(%s, 5000)", [backend])
    successor = stage.start()
    stage.ready(successor)
    database.execute("DELETE FROM hang")
    stage.until(lambda: not look(database))
    assert len(scheduled(stage)) == 1
    assert outcomes(database) == ["enqueued"]


def test_a_worker_whose_clock_is_an_hour_off_ticks_as_the_others_do(
    stage: Stage, database: psycopg.Connection[Any]
) -> None:
    """Neither early nor late, and no tick twice: only the database's clock is asked."""
    for skew in (3600, -3600):
        worker = stage.start(skew=skew)
        stage.ready(worker)
    name = "every second"
    save(database, name, every=1, overlap="allow", job=NewJob("unknown to them"))
    save(database, "hourly", every=3600, overlap="allow", job=NewJob("unknown to them"))
    stage.until(lambda: len(scheduled(stage)) >= 4)
    rows = stage.sql(
        "SELECT created_at - scheduled_for, scheduled_for FROM pgqueue.all_jobs"
        " WHERE metadata -> 'schedule' ->> 'name' = %s ORDER BY id",
        name,
    )
    assert len(rows) >= 3
    assert all(timedelta() <= late < timedelta(seconds=30) for late, _ in rows)
    moments = [moment for _, moment in rows]
    assert moments == sorted(set(moments))
    hourly = row(database, "hourly")
    assert hourly.next_run_at - hourly.ticked_until <= timedelta(hours=1)


def test_the_clock_of_such_a_worker_is_off_indeed(stage: Stage) -> None:
    import subprocess
    import sys

    from tests.command import environment
    from tests.skewed import SKEW

    script = (
        "import tests.skewed, time, datetime; real = time.clock_gettime(time.CLOCK_REALTIME);"
        "print(round(time.time() - real),"
        " round(datetime.datetime.now(datetime.UTC).timestamp() - real))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", script],
        env=environment(None, {SKEW: "3600"}),
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout == "3600 3600\n"


# A worker in this process


def work_until(tasks: Tasks, dsn: str, condition: Callable[[], object]) -> None:
    async def work() -> None:
        async with asyncio.timeout(60), Worker(tasks, dsn, QUICK):
            while not condition():
                await asyncio.sleep(0.02)

    asyncio.run(work())


def test_a_declared_schedule_runs_its_task_with_the_moment_of_its_zone(dsn: str) -> None:
    tasks = Tasks(timezone="Asia/Tokyo")
    seen: list[tuple[datetime | None, int, str | None]] = []

    @tasks.cron("* * * * * *", seconds="first", args={"n": 5}, name="beat")
    @tasks.task("beat-once")
    async def beat(ctx: Context, n: int) -> None:
        seen.append((ctx.scheduled_for, n, ctx.actor))

    work_until(tasks, dsn, lambda: len(seen) >= 2)

    (first, n, actor), (second, *_) = seen[:2]
    assert first is not None
    assert second is not None
    assert (n, actor) == (5, "cron:beat")
    assert first.tzinfo == ZoneInfo("Asia/Tokyo")
    assert first.microsecond == 0
    assert second > first


def test_two_ticks_of_one_task_have_schedules_of_their_own(dsn: str) -> None:
    tasks = Tasks()

    @tasks.cron("0 9 * * *", tz="Asia/Tokyo")
    @tasks.cron("0 10 * * MON", name="weekly")
    @tasks.task("report")
    def report() -> None: ...

    with psycopg.connect(dsn, autocommit=True) as connection:
        work_until(tasks, dsn, lambda: row(connection, "weekly").next_run_at)
        assert row(connection, "report").tz == "Asia/Tokyo"
        assert row(connection, "weekly").tz == "UTC"
        assert row(connection, "weekly").source == "code"


def test_queue_one_runs_them_one_after_the_other(dsn: str) -> None:
    tasks = Tasks()
    running = most = done = 0

    @tasks.cron(every=1, overlap="queue_one")
    @tasks.task("slow")
    async def slow() -> None:
        nonlocal running, most, done
        running += 1
        most = max(most, running)
        await asyncio.sleep(1.3)
        running -= 1
        done += 1

    work_until(tasks, dsn, lambda: done >= 3)
    assert most == 1
    with psycopg.connect(dsn) as connection:
        assert "overlapped" in outcomes(connection) or "queued" in outcomes(connection)


def tick_once(dsn: str) -> float:
    async def once() -> float:
        session = Session(dsn, "test")
        await session.open()
        try:
            return await Ticker(session).tick()
        finally:
            await session.close()

    return asyncio.run(once())


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ("cron = '0 0 30 2 *'", "does not come within"),
        ("cron = 'nonsense'", "five fields"),
        ("tz = 'Nowhere/City'", "no time zone"),
        ("cron = '0 0 9 * * *'", "seconds='first'"),
    ],
)
def test_a_schedule_that_cannot_be_understood_is_disabled_and_says_why(
    dsn: str, database: psycopg.Connection[Any], columns: str, said: str
) -> None:
    save(database, "good")
    save(database, "bad", source="sql")
    database.execute(f"UPDATE pgqueue.schedules SET {columns} WHERE name = 'bad'")  # type: ignore[call-overload]  # noqa: S608
    tick_once(dsn)
    bad = row(database, "bad")
    assert not bad.enabled
    assert said in bad.error
    assert row(database, "good").next_run_at is not None
    assert database.execute(
        "SELECT state, error = %s FROM pgqueue.schedule_status WHERE name = 'bad'", [bad.error]
    ).fetchone() == ("error", True)

    database.execute(
        "UPDATE pgqueue.schedules SET cron = '0 9 * * *', tz = 'UTC' WHERE name = 'bad'"
    )
    tick_once(dsn)
    bad = row(database, "bad")
    assert bad.enabled
    assert bad.error is None
    assert bad.next_run_at is not None


def test_a_schedule_whose_job_cannot_be_made_does_not_keep_the_others(
    dsn: str, database: psycopg.Connection[Any]
) -> None:
    database.execute("ALTER TABLE pgqueue.jobs ADD CHECK (task <> 'forbidden')")
    for name, task in (("a", "forbidden"), ("b", "work")):
        save(database, name, job=NewJob(task), overlap="allow")
        behind(database, name, seconds=60)
    tick_once(dsn)
    assert [job.task for job in jobs(database)] == ["work"]
    assert "violates check constraint" in row(database, "a").error


def test_a_zone_that_this_worker_lacks_and_another_had_is_left_to_that_one(
    dsn: str, database: psycopg.Connection[Any], caplog: pytest.LogCaptureFixture
) -> None:
    save(database)
    run(database, schedules.look(limit=1))
    database.execute("UPDATE pgqueue.schedules SET tz = 'Mars/Olympus'")
    database.execute("UPDATE pgqueue.schedules SET tzdata = '2099a'")
    with caplog.at_level(logging.ERROR, "pgqueue.schedules"):
        tick_once(dsn)
    assert row(database).enabled
    assert "left to other workers" in caplog.text


def test_the_next_look_is_when_the_next_one_is_due(
    dsn: str, database: psycopg.Connection[Any]
) -> None:
    assert tick_once(dsn) == pytest.approx(1.0, abs=0.2)
    save(database, every=1)
    tick_once(dsn)
    assert 0 < tick_once(dsn) <= 1.0


def test_the_tasks_of_these_tests_declare_nothing() -> None:
    assert worker_tasks.schedules == {}
