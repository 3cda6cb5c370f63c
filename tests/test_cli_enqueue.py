"""``pgqueue enqueue``: what Python can enqueue, a shell can."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.command import Command


@pytest.fixture
def pgqueue(dsn: str) -> Command:
    return Command(dsn)


def test_an_enqueued_job_is_committed_and_its_id_printed(pgqueue: Command) -> None:
    printed = pgqueue("enqueue", "send", "--args", '{"user_id": 7}').stdout
    assert pgqueue.sql("SELECT id, task, args::text, state FROM pgqueue.jobs") == [
        (int(printed), "send", '{"user_id":7}', "available")
    ]


def test_enqueue_takes_the_options_that_python_takes(pgqueue: Command) -> None:
    job_id = pgqueue.json(
        *("enqueue", "send", "--queue", "email", "--priority", 5, "--delay", "1h30m"),
        *("--expires", "2d", "--max-attempts", 9, "--max-crashes", 4, "--timeout", "none"),
        *("--keep", "30d", "--key", "k", "--key-ttl", "1w", "--actor", "ann"),
        *("--metadata", '{"from": "shop"}', "--on-dead-task", "mourn"),
    )["id"]
    [row] = pgqueue.sql(
        "SELECT id, queue, priority, run_at - created_at, expires_at - created_at, max_attempts,"
        " max_crashes, timeout, keep, key, actor, metadata, on_dead_task FROM pgqueue.jobs"
    )
    assert row == (
        *(job_id, "email", 5, timedelta(hours=1.5), timedelta(days=2), 9, 4, None),
        *(timedelta(days=30), "k", "ann", {"from": "shop"}, "mourn"),
    )


def test_a_moment_needs_its_time_zone(pgqueue: Command) -> None:
    pgqueue("enqueue", "send", "--run-at", "2030-12-24T18:00:00+01:00")
    [(run_at,)] = pgqueue.sql("SELECT run_at FROM pgqueue.jobs")
    assert run_at == datetime(2030, 12, 24, 17, tzinfo=UTC)
    refused = pgqueue("enqueue", "send", "--run-at", "2030-12-24T18:00:00", exits=2)
    assert "has no time zone; add Z" in refused.stderr


def test_the_same_key_is_the_same_job(pgqueue: Command) -> None:
    first = pgqueue("enqueue", "send", "--key", "k")
    again = pgqueue("enqueue", "send", "--key", "k")
    assert again.stdout == first.stdout
    assert "no new job was made" in again.stderr
    other = pgqueue("enqueue", "send", "--key", "k", "--args", '{"user_id": 1}', exits=1)
    assert "has other arguments" in other.stderr


def test_json_that_breaks_off_is_pointed_at(pgqueue: Command) -> None:
    said = pgqueue("enqueue", "send", "--args", '{"user_id": 5 "x": 1}', exits=2).stderr
    assert "not JSON at line 1, column 15: Expecting ',' delimiter" in said
    assert '  {"user_id": 5 "x": 1}\n                ^' in said


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ("{user_id:5}", "in a shell write it as"),
        ("[1]", "must be an object"),
        ('{"a": [NaN]}', "args.a[0]: nan is no JSON number"),
        ('{"a": 1e400}', "args.a: inf is no JSON number"),
        (r'{"a": "\u0000"}', "args.a: text with a NUL"),
        (r'{"a": "\ud800"}', "lone surrogate"),
        ('{"a": %s}' % ("9" * 5000), "not JSON that can be used"),
        ("@no-such-file", "no-such-file cannot be read"),
    ],
    ids=["unquoted", "list", "nan", "infinite", "nul", "surrogate", "huge-number", "no-file"],
)
def test_args_that_cannot_be_stored_are_refused(pgqueue: Command, args: str, said: str) -> None:
    assert said in pgqueue("enqueue", "send", "--args", args, exits=2).stderr
    assert pgqueue.sql("SELECT FROM pgqueue.jobs") == []


def test_args_come_from_a_file_or_stdin_too(pgqueue: Command, tmp_path: Path) -> None:
    (tmp_path / "args.json").write_text('{"name": "Ünal"}')
    pgqueue("enqueue", "send", "--args", f"@{tmp_path}/args.json")
    pgqueue("enqueue", "send", "--args", "-", stdin='{"name": "Ünal"}')
    assert pgqueue.sql("SELECT args FROM pgqueue.jobs") == [({"name": "Ünal"},)] * 2


def test_large_args_are_warned_of_and_too_large_ones_refused(
    pgqueue: Command, tmp_path: Path
) -> None:
    file = tmp_path / "args.json"
    file.write_text('{"text": "%s"}' % ("x" * 100_000))
    assert "Warning: args" in pgqueue("enqueue", "send", "--args", f"@{file}").stderr
    file.write_text('{"text": "%s"}' % ("x" * 2_000_000))
    assert "more than" in pgqueue("enqueue", "send", "--args", f"@{file}", exits=2).stderr


def test_tags_in_args_stay_what_they_mean(pgqueue: Command) -> None:
    pgqueue("enqueue", "send", "--args", '{"day": {"$date": "2026-01-02"}}')
    assert pgqueue.sql("SELECT args FROM pgqueue.jobs") == [({"day": {"$date": "2026-01-02"}},)]
