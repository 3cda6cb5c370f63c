"""The command line: the schema, the queues, the worker, and its own manners."""

import doctest
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import click
import pytest

from pgqueue.cli import human, program
from pgqueue.cli import worker as worker_command
from pgqueue.migrate import head
from tests.command import Command

pytestmark = pytest.mark.smoke


@pytest.fixture
def pgqueue(dsn: str) -> Command:
    return Command(dsn)


def commands(
    group: click.Group = program, above: tuple[str, ...] = ()
) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*above, name))
        else:
            yield (*above, name)


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_every_command_explains_itself_with_an_example(words: tuple[str, ...]) -> None:
    said = Command("")(*words, "--help").stdout
    assert "Example" in said
    assert f"pgqueue {' '.join(words)}" in said.partition("Example")[2]
    assert ("--json" in said) == (words not in (("worker",), ("exporter",)))
    assert [line for line in said.splitlines() if len(line) > 80] == []


def test_a_paused_queue_says_so_until_it_is_resumed(pgqueue: Command) -> None:
    pgqueue("queues", "pause", "email", "--reason", "mail is down")
    assert "paused now" in pgqueue("status").stdout
    assert pgqueue.json("queues", "list")["queues"][0]["paused_at"] is not None
    pgqueue("queues", "resume", "email")
    assert pgqueue.json("queues", "list")["queues"][0]["paused_at"] is None
    verbs = pgqueue.sql("SELECT verb, queue, reason FROM pgqueue.audit WHERE queue IS NOT NULL")
    assert verbs == [("pause", "email", "mail is down"), ("resume", "email", None)]


def test_status_shows_each_queue_and_who_serves_it(pgqueue: Command) -> None:
    for options in ((), ("--delay", "1h"), ("-q", "email")):
        pgqueue("enqueue", "send", *options)
    pgqueue.sql(
        "INSERT INTO pgqueue.workers VALUES (gen_random_uuid(), now() - interval '3 min', now(),"
        " 77, 'web-1', '1', '{\"default\": 5}', '{send}')"
    )
    lines = pgqueue("status").stdout.splitlines()
    assert lines[0] == "QUEUE    WAITING  SCHEDULED  RUNNING  DEAD  OLDEST  SLOTS"
    assert lines[1].split()[:5] == ["default", "1", "1", "0", "0"]
    assert lines[2].endswith("no worker")
    assert lines[-1].split() == ["web-1", "77", "default=5", "3", "min", "now"]


def test_status_warns_of_a_database_that_is_a_copy(pgqueue: Command) -> None:
    pgqueue.sql("UPDATE pgqueue.home SET database_oid = 1")
    assert "run: pgqueue adopt" in pgqueue("status").stderr
    assert pgqueue.json("status")["adopted"] is False
    pgqueue("adopt", "--actor", "ann")
    assert pgqueue.json("status")["adopted"] is True


def test_sync_writes_down_what_the_code_says(
    pgqueue: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "synced_app.py").write_text(
        "from pgqueue import Tasks\ntasks = Tasks()\n"
        "@tasks.task('send', queue='email', max_attempts=9)\ndef send(): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert pgqueue.json("sync", "synced_app:tasks") == {"tasks": ["send"], "schedules": []}
    pgqueue("enqueue", "send")
    assert pgqueue.sql("SELECT queue, max_attempts FROM pgqueue.jobs") == [("email", 9)]


def test_a_worker_gets_its_settings_and_gives_its_exit_code(
    pgqueue: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = {}

    def run(path: str, dsn: str, settings: object, **more: object) -> int:
        called.update(path=path, dsn=dsn, settings=settings, **more)
        return 75

    monkeypatch.setattr(worker_command, "run", run)
    monkeypatch.setattr(worker_command, "configure", lambda *given: called.update(logs=given))
    monkeypatch.setenv("PGQUEUE_LISTEN_DSN", "host=direct")
    pgqueue(
        *("worker", "app:tasks", "-q", "email=20", "-q", "odd=name=3", "-q", "reports"),
        *("--lease", "1min", "--poll", "500ms", "--grace", "2min", "--prefetch", "7"),
        *("--processes", "4", "--health-port", "8080", "--log-format", "json"),
        exits=75,
    )
    settings = called["settings"]
    assert (called["path"], called["dsn"]) == ("app:tasks", pgqueue.dsn)
    assert settings.queues == {"email": 20, "odd=name": 3, "reports": 10}
    assert (settings.lease, settings.poll) == (timedelta(minutes=1), timedelta(seconds=0.5))
    assert (settings.grace, settings.prefetch) == (timedelta(minutes=2), 7)
    assert (settings.listen_dsn, settings.health_port) == ("host=direct", 8080)
    assert (called["processes"], called["reload"]) == (4, False)
    assert called["logs"] == ("json", 20)


def test_the_schema_is_checked_installed_and_removed(empty_dsn: str) -> None:
    pgqueue = Command(empty_dsn)
    assert pgqueue.json("migrate", "--check", exits=3)["state"] == "missing"
    assert pgqueue.json("migrate") == {"revision": head()}
    assert "up to date" in pgqueue("migrate", "--check").stdout
    for revision in ("base", "-1", "pgqueue@base", f"{head()}-1"):
        said = pgqueue("downgrade", "--to", revision, exits=2).stderr
        assert "removes the pgqueue schema and every job in it; if that is meant, add --yes" in said
    assert "removes data" in pgqueue("downgrade", "--to", head(), exits=2).stderr
    assert pgqueue.json("downgrade", "--to", "base", "--yes") == {"revision": None}
    assert "is missing or older" in pgqueue("status", exits=3).stderr


def test_the_sql_of_a_migration_needs_no_database() -> None:
    said = Command("host=/nowhere")("migrate", "--sql").stdout
    assert "CREATE TABLE pgqueue.jobs" in said


def test_durations_read_as_documented() -> None:
    assert doctest.testmod(human).failed == 0
