"""``pgqueue doctor``: what should be mended before it hurts."""

import pytest

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
def pgqueue(dsn: str) -> Command:
    return Command(dsn)


def test_there_is_nothing_to_do_where_nothing_is_wrong(pgqueue: Command) -> None:
    assert pgqueue("doctor").stdout == "nothing to do (1 checks)\n"
    assert pgqueue.json("doctor") == {"findings": []}


def test_a_task_that_takes_longer_than_it_is_to_take_is_named(pgqueue: Command) -> None:
    """One in ten took 94 s."""
    pgqueue.sql(KNOWN, "import.chunk", 60_000)
    pgqueue.sql(FINISHED, 94, "succeeded", "import.chunk", 412)

    sentence = "p95 of import.chunk is 94 s over 412 jobs; its target is 60 s: split it"
    assert pgqueue("doctor", exits=1).stdout == f"{sentence}\n"
    assert pgqueue.json("doctor", exits=1) == {
        "findings": [
            {
                "check": "slow_tasks",
                "subject": "import.chunk",
                "text": sentence,
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
