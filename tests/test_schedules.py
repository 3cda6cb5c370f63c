"""Schedules in the database: one job a tick, what was missed, what overlaps, whose they are."""

import threading
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import psycopg
import pytest
from psycopg.errors import CheckViolation, UniqueViolation
from psycopg.types.json import Json

import pgqueue
from pgqueue import InvalidOption, NewJob, NewSchedule, ScheduleNotFound
from pgqueue.storage import schedules, upkeep
from pgqueue.storage.drivers import run
from pgqueue.timetable.misfire import AT_ONCE, Rules, judge
from pgqueue.timetable.schedule import Misfire
from pgqueue.timetable.timing import Every
from tests.connections import KINDS
from tests.rows import claim_one
from tests.scheduling import (
    Connection,
    behind,
    gaps,
    jobs,
    look,
    outcomes,
    row,
    save,
    tick,
    tick_seen,
)

MINUTE = timedelta(minutes=1)


# Ticks


def test_a_new_schedule_is_given_its_first_tick_and_no_job(connection: Connection) -> None:
    save(connection, cron="0 9 * * *", tz="Asia/Tokyo")
    assert row(connection).next_run_at is None

    tick(connection)

    found = row(connection)
    assert found.next_run_at.astimezone(UTC).strftime("%H:%M:%S") == "00:00:00"
    assert timedelta() < found.next_run_at - found.ticked_until <= timedelta(days=1)
    assert found.words == "at 09:00 every day (Asia/Tokyo)"
    assert jobs(connection) == []
    assert look(connection) == {}


def test_a_tick_between_the_making_and_the_first_look_is_not_lost(connection: Connection) -> None:
    save(connection)
    behind(connection, seconds=61)
    tick(connection)
    assert len(jobs(connection)) == 1


def test_a_tick_makes_a_job_that_knows_which_one_it_is_for(connection: Connection) -> None:
    job = NewJob("work", '{"n": 1}', queue="reports", priority=7, metadata={"a": 1.5}, timeout=None)
    save(connection, job=job, tz="Asia/Tokyo", overlap="allow")
    behind(connection, seconds=60)
    tick(connection)

    (made,) = jobs(connection)
    found = row(connection)
    assert made.scheduled_for == found.last_run_at
    assert made.scheduled_for.second == made.scheduled_for.microsecond == 0
    assert (made.queue, made.priority, made.args) == ("reports", 7, {"n": 1})
    assert made.actor == "cron:s"
    assert made.metadata == {"a": 1.5, "schedule": {"name": "s", "tz": "Asia/Tokyo"}}
    assert (found.runs, found.last_job_id) == (1, made.id)
    assert found.next_run_at - made.scheduled_for == MINUTE
    claimed = claim_one(connection, queues=["reports"])
    assert claimed.scheduled_for == made.scheduled_for
    assert claimed.timeout is None


def test_of_two_tickers_that_saw_the_same_the_second_does_nothing(connection: Connection) -> None:
    save(connection, overlap="allow")
    behind(connection, seconds=60)
    seen = look(connection)["s"]

    assert tick_seen(connection, seen) == (1, 0)
    assert tick_seen(connection, seen) is None
    assert len(jobs(connection)) == 1


def test_a_tick_computed_before_a_change_does_nothing(connection: Connection) -> None:
    save(connection)
    behind(connection, seconds=60)
    seen = look(connection)["s"]
    save(connection, job=NewJob("other"))

    assert tick_seen(connection, seen) is None
    assert tick(connection) == (1, 0)
    assert jobs(connection)[0].task == "other"


def test_a_tick_has_a_primary_key(connection: Connection) -> None:
    save(connection)
    behind(connection, seconds=60)
    tick(connection)
    with pytest.raises(UniqueViolation):
        connection.execute(
            "INSERT INTO pgqueue.ticks (schedule_id, tick_at, outcome)"
            " SELECT schedule_id, tick_at, outcome FROM pgqueue.ticks"
        )


def test_a_clock_that_goes_back_makes_no_tick_happen_again(connection: Connection) -> None:
    """A failover to a server whose clock is behind, or a row that somebody put back."""
    save(connection, overlap="allow")
    behind(connection, seconds=60)
    tick(connection)
    connection.execute(
        "UPDATE pgqueue.schedules SET ticked_until = ticked_until - '61 s'::interval"
    )
    tick_seen(connection, schedules.Seen(*_seen(connection)))
    assert len(jobs(connection)) == 1


def _seen(connection: Connection) -> Any:
    connection.execute("UPDATE pgqueue.schedules SET next_run_at = NULL")
    return look(connection)["s"]


def test_many_tickers_at_once_make_one_job_of_each_tick(dsn: str) -> None:
    """Without waiting for each other: whoever finds a schedule taken goes on to the next."""
    count, tickers = 200, 4
    with psycopg.connect(dsn, autocommit=True) as connection:
        for n in range(count):
            save(connection, f"s{n}", overlap="allow")
            behind(connection, f"s{n}", seconds=60)
    barrier = threading.Barrier(tickers)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            with psycopg.connect(dsn, autocommit=True) as connection:
                seen = look(connection)
                assert len(seen) == count
                barrier.wait()
                for each in seen.values():
                    tick_seen(connection, each)
        except BaseException as error:  # noqa: BLE001  shown by the main thread
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(tickers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with psycopg.connect(dsn) as connection:
        pairs = [(job.schedule_id, job.scheduled_for) for job in jobs(connection)]
        assert len(pairs) == len(set(pairs)) == count
        assert outcomes(connection) == ["enqueued"] * count


def test_nobody_waits_for_a_ticker_that_hangs(dsn: str) -> None:
    with psycopg.connect(dsn) as slow, psycopg.connect(dsn, autocommit=True) as quick:
        save(quick)
        behind(quick, seconds=60)
        seen = look(quick)["s"]
        quick.execute("SET lock_timeout = '100ms'")
        assert tick_seen(slow, seen) == (1, 0)
        assert tick_seen(quick, seen) is None
        slow.rollback()
        assert tick_seen(quick, seen) == (1, 0)
        assert len(jobs(quick)) == 1


def test_start_end_and_number_of_runs_bound_it(connection: Connection) -> None:
    begin = datetime.now(UTC) - timedelta(minutes=10)
    end = begin + timedelta(minutes=3, seconds=1)
    save(connection, every=60, start_at=begin, end_at=end, misfire="all", overlap="allow")
    behind(connection, minutes=60)
    tick(connection)
    assert [job.scheduled_for for job in jobs(connection)] == [begin + n * MINUTE for n in range(4)]
    assert row(connection).ended_at is not None
    assert look(connection) == {}

    save(connection, "few", max_runs=2, misfire="all")
    behind(connection, "few", minutes=5)
    assert tick(connection, "few") == (2, 0)
    assert row(connection, "few").ended_at is not None


def test_a_later_end_goes_on_from_now(connection: Connection) -> None:
    ended = datetime.now(UTC) - timedelta(minutes=5)
    save(connection, end_at=ended)
    tick(connection)
    assert row(connection).ended_at is not None
    save(connection, end_at=ended + timedelta(days=1))
    tick(connection)
    assert row(connection).next_run_at is not None
    assert gaps(connection) == []


def test_jitter_moves_the_start_and_not_the_tick(connection: Connection) -> None:
    save(connection, jitter=3600, misfire="all")
    behind(connection, minutes=20)
    tick(connection)
    starts = {job.run_at - job.created_at for job in jobs(connection)}
    assert len(starts) > 10
    assert all(timedelta() <= start <= timedelta(hours=1, seconds=1) for start in starts)
    assert all(job.scheduled_for.second == 0 for job in jobs(connection))


# What was missed


@pytest.mark.parametrize(
    ("misfire", "ran", "missed"), [("skip", 1, 9), ("one", 1, 9), ("all", 10, 0)]
)
def test_after_ten_ticks_without_a_worker_each_policy_does_what_it_says(
    connection: Connection, misfire: str, ran: int, missed: int
) -> None:
    """The tenth is within the grace of a minute. A gap is one row."""
    begin = datetime.now(UTC) - timedelta(minutes=10)
    save(connection, every=60, start_at=begin + MINUTE / 2, misfire=misfire, overlap="allow")
    connection.execute(
        "UPDATE pgqueue.schedules SET ticked_until = %s, next_run_at = NULL", [begin]
    )
    tick(connection)

    assert len(jobs(connection)) == ran
    assert jobs(connection)[-1].scheduled_for == begin + MINUTE / 2 + 9 * MINUTE
    if missed:
        first = begin + MINUTE / 2
        assert gaps(connection) == [(first, first + 8 * MINUTE, missed, "missed")]
    else:
        assert gaps(connection) == []


def test_a_missed_tick_beyond_the_grace_runs_late_or_not_at_all(connection: Connection) -> None:
    """A daily schedule, its only tick three hours ago."""
    at = datetime.now(UTC) - timedelta(hours=3)
    for misfire in ("skip", "one", "all"):
        save(connection, misfire, every=86400, start_at=at, misfire=misfire)
        behind(connection, misfire, hours=4)
        tick(connection, misfire)
    ran = {job.metadata["schedule"]["name"] for job in jobs(connection)}
    assert ran == {"one", "all"}
    assert [gap[2] for gap in gaps(connection)] == [1]


def test_all_runs_the_latest_and_counts_the_others(connection: Connection) -> None:
    save(connection, misfire="all", misfire_max=3, grace=30)
    behind(connection, hours=2)
    tick(connection)
    made = jobs(connection)
    ((_, last, missed, _),) = gaps(connection)
    assert 3 <= len(made) <= 4
    assert len(made) + missed in (119, 120, 121)
    assert made[0].scheduled_for - last == MINUTE


def test_more_than_can_be_run_at_once_is_run_at_the_next_looks(connection: Connection) -> None:
    save(connection, misfire="all", misfire_max=1000)
    behind(connection, minutes=250)
    looks = 0
    while tick(connection) is not None:
        looks += 1
    scheduled = [job.scheduled_for for job in jobs(connection)]
    assert looks == 3
    assert 249 <= len(scheduled) <= 251
    assert {later - earlier for earlier, later in pairwise(scheduled)} == {MINUTE}
    assert gaps(connection) == []


class Counted(Every):
    """Counts how often it is asked for a tick."""

    asked = 0

    def next(self, after: datetime) -> datetime:
        Counted.asked += 1
        return super().next(after)

    def latest(self, until: datetime, after: datetime) -> datetime | None:
        Counted.asked += 1
        return super().latest(until, after)


@pytest.mark.parametrize("misfire", list(Misfire))
def test_a_year_behind_is_judged_without_walking_through_it(misfire: Misfire) -> None:
    now = datetime(2026, 11, 25, 12, tzinfo=UTC)
    Counted.asked = 0
    rules = Rules(misfire, 5, timedelta(seconds=60), None, None)
    due = judge(Counted(MINUTE), rules, ticked_until=now - timedelta(days=365), now=now)
    assert Counted.asked < 30
    assert due.gap is not None
    assert due.gap.size + len(due.ticks) == 525_600
    assert due.ticks[-1] == now
    assert due.next_run_at == now + MINUTE


def test_what_is_within_the_grace_is_not_missed() -> None:
    """A look that comes a little late loses no second."""
    now = datetime(2026, 11, 25, 12, tzinfo=UTC)
    for misfire in Misfire:
        rules = Rules(misfire, 5, timedelta(seconds=60), None, None)
        due = judge(
            Every(timedelta(seconds=1)), rules, ticked_until=now - timedelta(seconds=3), now=now
        )
        assert len(due.ticks) == 3
        assert due.gap is None


def test_at_one_look_no_more_is_run_than_can_be() -> None:
    now = datetime(2026, 11, 25, 12, tzinfo=UTC)
    rules = Rules(Misfire.SKIP, 5, timedelta(hours=1), None, None)
    due = judge(
        Every(timedelta(seconds=1)), rules, ticked_until=now - timedelta(minutes=30), now=now
    )
    assert len(due.ticks) == AT_ONCE
    assert due.next_run_at == due.ticks[-1] + timedelta(seconds=1)


# What overlaps


def tick_twice(connection: Connection) -> None:
    """Two ticks, a minute apart."""
    behind(connection, seconds=60)
    tick(connection)
    connection.execute(
        "UPDATE pgqueue.schedules SET ticked_until = ticked_until - '10 min'::interval,"
        " next_run_at = NULL"
    )
    connection.execute("UPDATE pgqueue.ticks SET tick_at = tick_at - '10 min'::interval")
    behind(connection, seconds=60)
    tick(connection)


def test_by_default_a_tick_makes_no_job_while_another_is_under_way(connection: Connection) -> None:
    save(connection)
    tick_twice(connection)
    assert outcomes(connection) == ["enqueued", "overlapped"]
    assert len(jobs(connection)) == 1


@pytest.mark.parametrize("state", ["dead", "succeeded"])
def test_a_job_that_is_over_is_in_nobody_s_way(connection: Connection, state: str) -> None:
    save(connection)
    behind(connection, seconds=60)
    tick(connection)
    if state == "dead":
        connection.execute("UPDATE pgqueue.jobs SET state = 'dead', reason = 'timeout'")
    else:
        connection.execute("DELETE FROM pgqueue.jobs")
    tick_twice(connection)
    assert outcomes(connection)[-1] in ("enqueued", "overlapped")
    assert outcomes(connection).count("enqueued") == 2


def test_allow_lets_them_overlap(connection: Connection) -> None:
    save(connection, overlap="allow")
    tick_twice(connection)
    assert outcomes(connection) == ["enqueued", "enqueued"]


def test_queue_one_has_one_wait_until_the_other_is_over(connection: Connection) -> None:
    save(connection, overlap="queue_one", misfire="all")
    behind(connection, minutes=5)
    tick(connection)
    assert outcomes(connection)[:3] == ["enqueued", "queued", "overlapped"]
    assert run(connection, schedules.run_queued(limit=10)) == 0
    first = claim_one(connection)

    connection.execute("DELETE FROM pgqueue.jobs")
    assert run(connection, schedules.run_queued(limit=10)) == 1
    assert run(connection, schedules.run_queued(limit=10)) == 0
    (second,) = jobs(connection)
    assert second.scheduled_for - first.scheduled_for == MINUTE  # type: ignore[operator]
    assert outcomes(connection)[:3] == ["enqueued", "enqueued", "overlapped"]
    assert row(connection).queued_for is None


def test_cancel_previous_ends_what_waits_and_asks_what_runs_to_end(connection: Connection) -> None:
    save(connection, overlap="cancel_previous")
    behind(connection, seconds=60)
    tick(connection)
    running = claim_one(connection)
    tick_twice(connection)
    states = {job.id: job.state for job in jobs(connection)}
    assert states.pop(running.id) == "running"
    assert sorted(states.values()) in (["available"], ["available", "cancelled"])
    assert connection.execute(
        "SELECT cancel_requested_at IS NOT NULL FROM pgqueue.jobs WHERE id = %s", [running.id]
    ).fetchone() == (True,)


# Whose it is


@pytest.mark.parametrize("kind", KINDS)
def test_an_application_makes_and_steers_schedules_in_its_own_transaction(
    dsn: str, kind: str
) -> None:
    suffix = "_async" if "Async" in kind else ""

    def call(name: str, *args: Any, **how: Any) -> Any:
        return application.do(getattr(pgqueue, name + suffix)(application.connection, *args, **how))

    with KINDS[kind](dsn) as application:
        assert call("schedule", "nightly", NewJob("work"), cron="0 2 * * *") == "created"
        application.rollback()
        assert application.execute("SELECT count(*) FROM pgqueue.schedules") == [(0,)]

        assert call("schedule", "nightly", NewJob("work"), cron="0 2 * * *") == "created"
        assert call("schedule", "nightly", NewJob("work"), cron="0 2 * * *") == "unchanged"
        assert (
            call("schedule", "nightly", NewJob("work"), cron="0 3 * * *", actor="ann") == "changed"
        )
        assert call("disable_schedule", "nightly", actor="ann", reason="moving") == "disabled"
        assert call("enable_schedule", "nightly") == "enabled"
        job_id = call("run_schedule_now", "nightly", actor="bob")
        application.commit()
        assert application.execute(
            "SELECT id, task, actor, scheduled_for IS NOT NULL FROM pgqueue.jobs"
        ) == [(job_id, "work", "bob", True)]
        assert application.execute("SELECT count(*) FROM pgqueue.ticks") == [(0,)]
        assert call("unschedule", "nightly") == "removed"
        for verb in ("unschedule", "enable_schedule", "disable_schedule"):
            assert call(verb, "nightly") == "unknown"
        with pytest.raises(ScheduleNotFound, match="nightly"):
            call("run_schedule_now", "nightly")
        verbs = application.execute(
            "SELECT verb, actor, detail->>'schedule' FROM pgqueue.audit"
            " WHERE verb LIKE '%%schedule' ORDER BY id"
        )
        me = application.execute("SELECT session_user")[0][0]
        assert verbs == [
            ("create schedule", me, "nightly"),
            ("change schedule", "ann", "nightly"),
            ("disable schedule", "ann", "nightly"),
            ("enable schedule", me, "nightly"),
            ("run schedule", "bob", "nightly"),
            ("remove schedule", me, "nightly"),
        ]


def test_run_now_does_not_move_the_next_tick(connection: Connection) -> None:
    save(connection)
    tick(connection)
    before = row(connection)
    run(connection, schedules.run_now("s"))
    assert row(connection) == before


def test_a_disabled_schedule_does_not_tick_and_owes_nothing_later(connection: Connection) -> None:
    save(connection)
    run(connection, schedules.disable("s"))
    behind(connection, hours=1)
    assert look(connection) == {}

    run(connection, schedules.enable("s"))
    tick(connection)
    assert jobs(connection) == gaps(connection) == []
    assert row(connection).next_run_at is not None


def test_names_are_not_taken_from_each_other(connection: Connection) -> None:
    save(connection, source="code")
    with pytest.raises(InvalidOption, match="declared in code"):
        pgqueue.schedule(connection, "s", NewJob("other"), cron="@daily")
    saved = run(connection, schedules.sync([NewSchedule(name="s", job=NewJob("w"), cron="@daily")]))
    assert saved[0].answer == "changed"
    connection.execute(
        "INSERT INTO pgqueue.schedules (name, task, cron) VALUES ('mine', 'w', '@daily')"
    )
    mine = NewSchedule(name="mine", job=NewJob("x"), cron="@daily")
    assert [each.answer for each in run(connection, schedules.sync([mine]))] == [
        "taken",
        "orphaned",
    ]
    assert row(connection, "mine").task == "w"


def test_a_sync_makes_changes_shows_drift_and_prunes_what_is_its_own(
    connection: Connection,
) -> None:
    def declared(*names: str) -> list[NewSchedule]:
        return [NewSchedule(name=name, job=NewJob("w"), cron="0 9 * * *") for name in names]

    save(connection, "by an application")
    assert {each.answer for each in run(connection, schedules.sync(declared("a", "b")))} == {
        "created"
    }
    before = row(connection, "a")
    assert {each.answer for each in run(connection, schedules.sync(declared("a", "b")))} == {
        "unchanged"
    }
    assert row(connection, "a") == before, "nothing is written when nothing is new"

    run(connection, schedules.disable("a"))
    connection.execute("UPDATE pgqueue.schedules SET cron = '0 10 * * *' WHERE name = 'a'")
    (drifted, orphan) = run(connection, schedules.sync(declared("a")))
    assert drifted == ("a", "changed", {"cron": ["0 10 * * *", "0 9 * * *"]})
    assert orphan == ("b", "orphaned", {})
    assert not row(connection, "a").enabled, "no deployment enables what a person disabled"

    answers = {each.name: each.answer for each in run(connection, schedules.sync([], prune=True))}
    assert answers == {"a": "pruned", "b": "pruned"}
    assert row(connection, "by an application") is not None


def test_many_workers_that_start_together_declare_once(dsn: str) -> None:
    declared = [NewSchedule(name=f"s{n}", job=NewJob("w"), cron="@daily") for n in range(50)]
    barrier = threading.Barrier(6)
    answers: list[str] = []

    def start() -> None:
        with psycopg.connect(dsn, autocommit=True) as connection:
            barrier.wait()
            answers.extend(each.answer for each in run(connection, schedules.sync(declared)))

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == ["created"] * 50 + ["unchanged"] * 250


def test_a_schedule_of_plain_sql_is_filled_in_by_a_ticker(connection: Connection) -> None:
    connection.execute(
        "INSERT INTO pgqueue.schedules (name, task, every) VALUES ('s', 'work', '1 minute')"
    )
    assert row(connection).next_run_at is None
    tick(connection)
    assert row(connection).next_run_at is not None
    assert row(connection).words == "every minute"


@pytest.mark.parametrize(
    "columns",
    [
        "cron = NULL",
        "every = '1 minute'",
        "cron = ''",
        "cron = NULL, every = '1 month'",
        "cron = NULL, every = '0.5 s'",
        "misfire = 'perhaps'",
        "overlap = 'perhaps'",
        "grace = '1 s'",
        "jitter = '-1 s'",
        "start_at = 'infinity'",
        "end_at = '-infinity'",
        "start_at = '2026-02-01', end_at = '2026-01-01'",
        "seconds = 'last'",
        "args = '[]'",
        "priority = -1",
        "max_runs = 0",
        "name = ''",
        "source = 'ufo'",
        "timeout_ms = 0",
    ],
)
def test_nonsense_is_refused_by_the_table(connection: Connection, columns: str) -> None:
    save(connection)
    with pytest.raises(CheckViolation):
        connection.execute(f"UPDATE pgqueue.schedules SET {columns}")  # type: ignore[call-overload]  # noqa: S608


def test_any_change_of_when_it_is_due_has_the_next_tick_found_anew(connection: Connection) -> None:
    save(connection, cron="0 9 * * *")
    tick(connection)
    revision = row(connection).revision
    connection.execute("UPDATE pgqueue.schedules SET tz = 'Asia/Tokyo'")
    assert row(connection).next_run_at is None
    assert row(connection).revision == revision + 1
    tick(connection)
    assert row(connection).next_run_at.astimezone(UTC).hour == 0


def test_newer_zone_data_has_the_next_ticks_found_anew_and_older_does_not(
    connection: Connection,
) -> None:
    save(connection, cron="0 9 * * *")
    tick(connection)
    assert row(connection).tzdata == "2026a"
    assert run(connection, schedules.recompute(tzdata="2025c")) == []
    assert run(connection, schedules.recompute(tzdata="")) == []
    assert run(connection, schedules.recompute(tzdata="2026b")) == ["s"]
    assert "s" in look(connection)


def test_history_is_kept_for_thirty_days(connection: Connection) -> None:
    save(connection, misfire="all", misfire_max=2, grace=30)
    behind(connection, minutes=10)
    tick(connection)
    made = len(outcomes(connection))
    run(connection, upkeep.prune(limit=100))
    assert len(outcomes(connection)) == made
    connection.execute("UPDATE pgqueue.ticks SET made_at = made_at - '31 days'::interval")
    connection.execute("UPDATE pgqueue.schedule_gaps SET made_at = made_at - '31 days'::interval")
    assert run(connection, upkeep.prune(limit=100)) == made + 1
    assert outcomes(connection) == gaps(connection) == []


def test_the_view_says_how_each_one_stands(connection: Connection) -> None:
    save(connection, "late")
    behind(connection, "late", minutes=3)
    connection.execute(
        "UPDATE pgqueue.schedules SET next_run_at = clock_timestamp() - interval '2 minutes'"
    )
    save(connection, "off")
    run(connection, schedules.disable("off"))
    found = connection.execute(
        "SELECT name, state, late > '1 minute', words FROM pgqueue.schedule_status ORDER BY name"
    ).fetchall()
    assert found == [
        ("late", "enabled", True, "* * * * *"),
        ("off", "disabled", None, "* * * * *"),
    ]


def test_an_application_changes_its_own_schedules_and_nobody_elses(connection: Connection) -> None:
    """Whatever it says of itself: the role of those who enqueue may call this."""
    save(connection, "declared", source="code")
    save(connection, "own")
    for name, answer in (("declared", "taken"), ("own", "unchanged")):
        definition = connection.execute(
            'SELECT to_jsonb(s) || \'{"source": "code"}\' FROM pgqueue.schedules AS s'
            " WHERE name = %s",
            [name],
        ).fetchone()
        assert definition
        row = connection.execute(
            "SELECT answer FROM pgqueue.schedule(%s)", [Json(definition[0])]
        ).fetchone()
        assert row == (answer,)
