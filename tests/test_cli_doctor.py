"""``pgqueue doctor``: what should be mended before it hurts."""

import sys
import types

import psycopg
import pytest

from pgqueue import NewJob, Tasks, enqueue
from tests.command import Command

FINISHED = """
INSERT INTO pgqueue.finished_jobs (
    id, attempt, created_at, run_at, started_at, finished_at, expires_on, failures, crashes,
    max_attempts, priority, state, queue, task, args
)
SELECT n, 1, now(), now(), now() - interval '1 s' * CASE WHEN n %% 10 = 0 THEN %s ELSE 1 END, now(),
    pgqueue.expiry('7 days'), 0, 0, 5, 100, %s, 'default', %s, '{}'
FROM generate_series(1, %s) AS n
"""
KNOWN = "INSERT INTO pgqueue.tasks (name, target_ms, seen_at) VALUES (%s, %s, now())"


@pytest.fixture
def pgqueue(healthy: str) -> Command:
    command = Command(healthy)
    command.sql("TRUNCATE pgqueue.jobs, pgqueue.finished_jobs, pgqueue.tasks")
    return command


def test_where_nothing_is_wrong_it_says_so_and_exits_0(pgqueue: Command) -> None:
    said = pgqueue("doctor").stdout
    assert said.startswith("SCHEMA\nok       schema           revision pgqueue_0001")
    assert said.endswith(" checks: 2 info, 27 ok; nothing to do\n")
    assert "needs --app" in said
    assert pgqueue("doctor", "--quiet").stdout == ""
    assert {each["severity"] for each in pgqueue.json("doctor")["findings"]} == {"ok", "info"}
    assert pgqueue.json("doctor", "--quiet") == {"findings": []}


def test_a_task_that_takes_longer_than_it_is_to_take_is_named(pgqueue: Command) -> None:
    """One in ten took 94 s."""
    pgqueue.sql(KNOWN, "import.chunk", 60_000)
    pgqueue.sql(FINISHED, 94, "succeeded", "import.chunk", 412)

    sentence = "p95 of import.chunk is 94 s over 412 jobs; its target is 60 s"
    fix = "split it (enqueue_chunked), or say what it may take: target_runtime="
    (line, more, *rest) = pgqueue("doctor", "--quiet", exits=1).stdout.splitlines()[1:]
    assert (line.split(None, 2), more.strip()) == (
        ["warning", "slow_tasks", "p95 of import.chunk is 94 s over 412 jobs; its target"],
        "is 60 s",
    )
    assert rest == [f"  {fix}"]
    assert pgqueue.json("doctor", "--quiet", exits=1) == {
        "findings": [
            {
                "check": "slow_tasks",
                "group": "work",
                "severity": "warning",
                "subject": "import.chunk",
                "text": sentence,
                "fix": fix,
                "figures": {"jobs": 412, "p95": 94.0, "target": 60.0},
            }
        ]
    }


@pytest.mark.parametrize(
    ("target_ms", "seconds", "state", "jobs"),
    [
        (60_000, 60, "succeeded", 412),
        (None, 94, "succeeded", 412),
        (60_000, 94, "cancelled", 412),
        (60_000, 94, "succeeded", 19),
    ],
    ids=["in time", "without a target", "not to the end", "too few to judge"],
)
def test_a_task_is_not_named_without_a_reason(
    pgqueue: Command, target_ms: int | None, seconds: float, state: str, jobs: int
) -> None:
    pgqueue.sql(KNOWN, "t", target_ms)
    pgqueue.sql(FINISHED, seconds, state, "t", jobs)
    pgqueue("doctor")


def test_what_is_critical_exits_2_and_fits_80_columns(
    pgqueue: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("shop_jobs")
    module.tasks = tasks = Tasks()  # type: ignore[attr-defined]
    tasks.task("send-welcome-email")(lambda user_id, template: None)
    monkeypatch.setitem(sys.modules, "shop_jobs", module)
    with psycopg.connect(pgqueue.dsn) as connection:
        enqueue(connection, NewJob("send-welcome-email", '{"user": 1}'))
    pgqueue.sql("DROP INDEX pgqueue.jobs_available")
    try:
        said = pgqueue("doctor", "--app", "shop_jobs:tasks", exits=2).stdout
        assert "critical indexes          index jobs_available is missing\n" in said
        assert "  CREATE INDEX CONCURRENTLY jobs_available\n      ON pgqueue.jobs (" in said
        assert "critical unfit_arguments  1 waiting jobs of send-welcome-email will die" in said
        assert [line for line in said.splitlines() if len(line) > 80] == []
    finally:
        fixes = [
            each["fix"]
            for each in pgqueue.json("doctor", exits=2)["findings"]
            if each["check"] == "indexes"
        ]
        pgqueue.sql(fixes[0])
        pgqueue.sql("DELETE FROM pgqueue.jobs")  # unserved after a while, and others look there too
