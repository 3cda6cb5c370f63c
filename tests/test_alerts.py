"""Alerts fire at their thresholds and not below them, stay as long as they should, and are told."""

from typing import Any

import psycopg
import pytest

from tests.command import Command
from tests.rows import add

Connection = psycopg.Connection[Any]

COUNTED = """
INSERT INTO pgqueue.tallies (at, queue, task, succeeded, failed, timed_out, crashed, lost)
VALUES (date_trunc('minute', now(), 'UTC') - %(ago)s::interval, %(queue)s, 'work', %(succeeded)s,
    %(failed)s, %(timed_out)s, %(crashed)s, %(lost)s)
"""
STARTED = """
INSERT INTO pgqueue.tallies (at, queue, task, started, wait, waits)
VALUES (date_trunc('minute', now(), 'UTC'), 'default', 'work', %s, %s, ARRAY[%s::bigint])
"""


@pytest.fixture
def evaluated(connection: Connection) -> Connection:
    """As if a worker had just evaluated the alerts: what is reached is pending first."""
    connection.execute("UPDATE pgqueue.alert_clock SET evaluated_at = now()")
    return connection


def state(connection: Connection, alert: str, queue: str = "default", subject: str = "") -> str:
    """The state of an alert as the view has it; ok, too, if it has no row."""
    row = connection.execute(
        "SELECT state FROM pgqueue.alerts WHERE alert = %s AND queue = %s AND subject = %s",
        [alert, queue, subject],
    ).fetchone()
    return row[0] if row else "ok"


def evaluate(connection: Connection) -> int:
    row = connection.execute("SELECT pgqueue.evaluate_alerts('0')").fetchone()
    assert row
    return int(row[0])


def set_alert(connection: Connection, alert: str, settings: str, queue: str = "") -> None:
    connection.execute("SELECT pgqueue.set_alert(%s, %s, %s)", [alert, settings, queue])


def pass_time(connection: Connection, length: str) -> None:
    connection.execute("UPDATE pgqueue.alert_states SET since = since - %s::interval", [length])


def fill(connection: Connection, jobs: int, **options: Any) -> None:
    connection.execute(
        "SELECT pgqueue.enqueue_many(array_agg('work'::text), array_agg('{}'::text),"
        " priorities => array_agg(n %% 3)) FROM generate_series(1, %s) AS n",
        [jobs],
    )


def count(connection: Connection, *, queue: str = "default", ago: str = "0", **counts: int) -> None:
    usual = {"succeeded": 0, "failed": 0, "timed_out": 0, "crashed": 0, "lost": 0}
    connection.execute(COUNTED, {"queue": queue, "ago": ago, **usual, **counts})


@pytest.mark.parametrize(("jobs", "expected"), [(999, "ok"), (1000, "pending")])
def test_acceptance_19_a_backlog_is_a_thousand_available_jobs(
    evaluated: Connection, jobs: int, expected: str
) -> None:
    fill(evaluated, jobs)
    for _ in range(5):
        add(evaluated, delay=3600)
    assert state(evaluated, "backlog") == expected


def test_jobs_that_crashed_a_worker_belong_to_the_backlog(evaluated: Connection) -> None:
    fill(evaluated, 1000)
    evaluated.execute("UPDATE pgqueue.jobs SET crashes = 1 WHERE id % 100 = 0")
    assert state(evaluated, "backlog") == "pending"


@pytest.mark.parametrize(
    ("failed", "succeeded", "expected"),
    [(499, 9501, "ok"), (500, 9500, "pending"), (1, 19, "pending"), (1, 18, "ok"), (19, 0, "ok")],
    ids=["4.99 %", "5.00 %", "1 of 20", "1 of 19", "19 of 19"],
)
def test_acceptance_19_failures_are_five_percent_of_twenty_attempts(
    evaluated: Connection, failed: int, succeeded: int, expected: str
) -> None:
    count(evaluated, failed=failed, succeeded=succeeded)
    assert state(evaluated, "failure_rate") == expected


def test_every_way_to_fail_counts_and_minutes_are_summed(evaluated: Connection) -> None:
    count(evaluated, failed=1, timed_out=1, succeeded=38)
    count(evaluated, crashed=1, lost=1, succeeded=38, ago="4 minutes")
    assert state(evaluated, "failure_rate") == "pending"


def test_what_was_longer_ago_than_the_window_counts_no_more(evaluated: Connection) -> None:
    count(evaluated, failed=100, ago="6 minutes")
    assert state(evaluated, "failure_rate") == "ok"
    count(evaluated, failed=100, ago="4 minutes")
    assert state(evaluated, "failure_rate") == "pending"


def test_a_rate_is_the_same_told_or_folded(evaluated: Connection) -> None:
    count(evaluated, failed=499, succeeded=9501)
    count(evaluated, failed=1)
    evaluated.execute("SELECT pgqueue.fold_tallies(1)")
    before = state(evaluated, "failure_rate")
    evaluated.execute("SELECT pgqueue.fold_tallies()")
    assert (before, state(evaluated, "failure_rate")) == ("ok", "ok")  # 500 of 10001


@pytest.mark.parametrize(("seconds", "expected"), [(299, "ok"), (300, "pending")])
def test_acceptance_19_a_delay_is_five_minutes_on_average_of_jobs_that_wait_still(
    evaluated: Connection, seconds: int, expected: str
) -> None:
    for each in (seconds - 100, seconds, seconds + 100):
        evaluated.execute(
            "SELECT pgqueue.enqueue('work', priority => %s, run_at => now() - %s * interval '1 s')",
            [each, each],
        )
    assert state(evaluated, "delay") == expected


@pytest.mark.parametrize(("seconds", "expected"), [(299, "ok"), (300, "pending")])
def test_acceptance_19_a_delay_is_five_minutes_on_average_of_jobs_that_were_started(
    evaluated: Connection, seconds: int, expected: str
) -> None:
    evaluated.execute(STARTED, [4, 4.0 * seconds, 4])
    assert state(evaluated, "delay") == expected


def test_the_longer_of_both_delays_counts(evaluated: Connection) -> None:
    evaluated.execute(STARTED, [1000, 0.0, 1000])
    evaluated.execute("SELECT pgqueue.enqueue('work', run_at => now() - interval '301 s')")
    assert state(evaluated, "delay") == "pending"


def test_the_delay_of_many_is_that_of_the_oldest_and_the_newest(evaluated: Connection) -> None:
    """Jobs that came in steadily for 590 s have waited 295 s on average: neither end alone says
    so."""
    evaluated.execute(
        "INSERT INTO pgqueue.jobs (run_at, created_at, max_attempts, max_crashes, priority, state,"
        " queue, task, keep, args) SELECT now() - n * interval '59 ms', now(), 5, 3, 100,"
        " 'available', 'default', 'work', '7 days', '{}' FROM generate_series(1, 10000) AS n"
    )
    row = evaluated.execute(
        "SELECT jobs, round(extract(epoch FROM age)), is_sampled FROM pgqueue.waiting_ages()"
    ).fetchone()
    assert row == (1000, 295, True)
    assert state(evaluated, "delay") == "ok"


def test_dead_letters_that_grow_fire_at_once(evaluated: Connection) -> None:
    add(evaluated)
    assert state(evaluated, "dead") == "ok"
    evaluated.execute("UPDATE pgqueue.jobs SET state = 'dead', reason = 'timeout', died_at = now()")
    assert state(evaluated, "dead") == "firing"
    evaluated.execute("UPDATE pgqueue.jobs SET died_at = now() - interval '61 minutes'")
    assert state(evaluated, "dead") == "ok"


def be_alive(connection: Connection, tasks: str, *, listening: bool = True) -> None:
    connection.execute(
        "INSERT INTO pgqueue.workers VALUES"
        " (gen_random_uuid(), now(), now(), 1, 'h', '1', '{\"default\": 5}', %s, %s)",
        [tasks, listening],
    )


def test_acceptance_7_a_task_that_nobody_serves_alerts(evaluated: Connection) -> None:
    be_alive(evaluated, "{known}")
    for task in ("known", "strange"):
        evaluated.execute("SELECT pgqueue.enqueue(%s, run_at => now() - interval '300 s')", [task])
    assert state(evaluated, "unserved_task", subject="strange") == "pending"
    assert state(evaluated, "unserved_task", subject="known") == "ok"
    assert state(evaluated, "no_worker") == "ok"


def test_a_queue_with_jobs_and_no_worker_alerts_unless_it_is_paused(evaluated: Connection) -> None:
    evaluated.execute("SELECT pgqueue.enqueue('work', run_at => now() - interval '60 s')")
    assert state(evaluated, "no_worker") == "pending"
    evaluated.execute("SELECT pgqueue.pause('default')")
    assert state(evaluated, "no_worker") == "ok"


@pytest.mark.parametrize(("seconds", "expected"), [(59, "ok"), (60, "pending")])
def test_a_schedule_that_is_late_alerts(evaluated: Connection, seconds: int, expected: str) -> None:
    evaluated.execute(
        "INSERT INTO pgqueue.schedules (name, task, every, next_run_at)"
        " VALUES ('nightly', 'work', '1 hour', now() - %s * interval '1 s'),"
        " ('next week', 'work', '1 hour', now() + interval '7 days')",
        [seconds],
    )
    assert state(evaluated, "schedule_late", queue="", subject="nightly") == expected
    assert state(evaluated, "schedule_late", queue="", subject="next week") == "ok"


def test_a_schedule_that_cannot_be_understood_alerts(evaluated: Connection) -> None:
    evaluated.execute(
        "INSERT INTO pgqueue.schedules (name, task, cron, enabled, error)"
        " VALUES ('nightly', 'work', '61 * * * *', false, 'no such minute')"
    )
    assert state(evaluated, "schedule_late", queue="", subject="nightly") == "pending"


def test_workers_that_hear_nothing_alert(evaluated: Connection) -> None:
    be_alive(evaluated, "{work}")
    assert state(evaluated, "listener_down", queue="") == "ok"
    be_alive(evaluated, "{work}", listening=False)
    assert state(evaluated, "listener_down", queue="") == "pending"


def test_a_snapshot_that_is_held_for_long_alerts(dsn: str) -> None:
    with (
        psycopg.connect(dsn, application_name="report") as holder,
        psycopg.connect(dsn, autocommit=True) as connection,
    ):
        holder.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        holder.execute("SELECT count(*) FROM pgqueue.jobs")
        set_alert(connection, "horizon_held", '{"threshold": 0, "hold_for": "0"}')
        row = connection.execute(
            "SELECT state, text FROM pgqueue.alerts WHERE alert = 'horizon_held'"
        ).fetchone()
    assert row
    assert row[0] == "firing"
    assert "(report, " in row[1]


def test_a_queue_may_have_thresholds_of_its_own(evaluated: Connection) -> None:
    fill(evaluated, 10)
    set_alert(evaluated, "backlog", '{"threshold": 10, "severity": "warning"}', "default")
    assert state(evaluated, "backlog") == "pending"
    set_alert(evaluated, "backlog", '{"threshold": null}', "default")
    assert state(evaluated, "backlog") == "ok"
    set_alert(evaluated, "backlog", '{"threshold": 10}')
    assert state(evaluated, "backlog") == "pending"
    set_alert(evaluated, "backlog", '{"enabled": false}', "default")
    assert state(evaluated, "backlog") == "ok"
    verbs = evaluated.execute(
        "SELECT queue, detail ->> 'alert' FROM pgqueue.audit WHERE verb = 'set_alert' ORDER BY id"
    ).fetchall()
    assert verbs == [("default", "backlog"), ("default", "backlog"), (None, "backlog"),
                     ("default", "backlog")]  # fmt: skip


@pytest.mark.parametrize(
    ("alert", "settings", "queue", "said"),
    [
        ("backlog", '{"treshold": 5}', "", "treshold"),
        ("backlogs", '{"threshold": 5}', "", "backlogs"),
        ("backlog", '{"threshold": null}', "", "alert_rules_default"),
        ("backlog", '{"threshold": -1}', "", "alert_rules_threshold"),
        ("backlog", '{"severity": "bad"}', "", "alert_rules_severity"),
        ("delay", '{"look_back": "0"}', "", "alert_rules_look_back"),
        ("horizon_held", '{"threshold": 5}', "email", "alert_rules_queue"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(
    connection: Connection, alert: str, settings: str, queue: str, said: str
) -> None:
    with pytest.raises(psycopg.Error, match=said):
        set_alert(connection, alert, settings, queue)


def test_an_alert_is_pending_fires_and_is_resolved(evaluated: Connection) -> None:
    count(evaluated, failed=20)
    assert evaluate(evaluated) == 1
    assert state(evaluated, "failure_rate") == "pending"
    pass_time(evaluated, "59 s")
    assert evaluate(evaluated) == 0
    pass_time(evaluated, "1 s")
    assert state(evaluated, "failure_rate") == "firing"
    assert evaluate(evaluated) == 1
    assert evaluate(evaluated) == 0
    count(evaluated, succeeded=10_000)
    assert state(evaluated, "failure_rate") == "resolved"
    assert evaluate(evaluated) == 1
    pass_time(evaluated, "1 day")
    assert evaluate(evaluated) == 1
    assert evaluated.execute("SELECT FROM pgqueue.alert_states").fetchall() == []


def test_what_is_over_before_its_time_never_fires(evaluated: Connection) -> None:
    count(evaluated, failed=20)
    assert evaluate(evaluated) == 1
    count(evaluated, succeeded=10_000)
    assert evaluate(evaluated) == 1
    assert evaluated.execute("SELECT FROM pgqueue.alert_states").fetchall() == []


def test_a_firing_alert_whose_rule_is_switched_off_is_resolved(evaluated: Connection) -> None:
    set_alert(evaluated, "failure_rate", '{"hold_for": "0"}')
    count(evaluated, failed=20)
    evaluate(evaluated)
    set_alert(evaluated, "failure_rate", '{"enabled": false}')
    assert state(evaluated, "failure_rate") == "resolved"


def test_while_nobody_evaluates_what_is_reached_fires_at_once(connection: Connection) -> None:
    """All workers are gone: that is when a check from outside must not say "pending" for ever."""
    connection.execute("UPDATE pgqueue.alert_clock SET evaluated_at = now() - interval '61 s'")
    connection.execute("SELECT pgqueue.enqueue('work', run_at => now() - interval '60 s')")
    assert state(connection, "no_worker") == "firing"


def test_two_workers_evaluate_once(dsn: str) -> None:
    with (
        psycopg.connect(dsn) as first,
        psycopg.connect(dsn, autocommit=True) as second,
    ):
        count(first, failed=20)
        first.commit()
        assert evaluate(first) == 1
        assert evaluate(second) == 0
        first.commit()
        row = second.execute("SELECT pgqueue.evaluate_alerts('1 minute')").fetchone()
    assert row == (0,)


def test_a_change_is_told_on_a_channel(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("LISTEN pgqueue_alert")
        set_alert(connection, "failure_rate", '{"hold_for": "0"}')
        count(connection, failed=20)
        evaluate(connection)
        (told,) = connection.notifies(timeout=10, stop_after=1)
    assert '"alert" : "failure_rate"' in told.payload
    assert '"state" : "firing"' in told.payload


@pytest.fixture
def pgqueue(dsn: str) -> Command:
    command = Command(dsn)
    command.sql("UPDATE pgqueue.alert_clock SET evaluated_at = now()")
    return command


def test_the_command_exits_as_monitoring_plugins_do(pgqueue: Command) -> None:
    assert pgqueue("alerts").stdout == "all is well\n"
    pgqueue.sql("SELECT pgqueue.set_alert('dead', '{\"hold_for\": \"0\"}')")
    pgqueue.sql("SELECT pgqueue.enqueue('work')")
    pgqueue.sql("UPDATE pgqueue.jobs SET state = 'dead', reason = 'timeout', died_at = now()")
    said = pgqueue("alerts", exits=1).stdout.splitlines()
    assert said[1].split()[:5] == ["firing", "warning", "dead", "default", "now"]
    pgqueue.sql(
        "INSERT INTO pgqueue.tallies (at, queue, task, failed)"
        " VALUES (date_trunc('minute', now()), 'default', 'work', 20)"
    )
    pgqueue("alerts", exits=1)
    pgqueue.sql("SELECT pgqueue.set_alert('failure_rate', '{\"hold_for\": \"0\"}')")
    pgqueue("alerts", exits=2)
    (worst, *_) = pgqueue.json("alerts", "--all", exits=2)["alerts"]
    assert (worst["alert"], worst["state"], worst["value"]) == ("failure_rate", "firing", 1.0)


def test_the_command_without_a_database_knows_nothing(dsn: str) -> None:
    nowhere = Command(dsn.replace("pgqueue_test", "no_such_database"))
    nowhere("alerts", exits=3)
