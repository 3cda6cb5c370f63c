"""``pgqueue schedules``, and what ``pgqueue sync`` does for them."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.command import Command
from tests.scheduling import behind, save, tick

MODULE = """
from pgqueue import Tasks
tasks = Tasks()

@tasks.cron("0 9 * * *", tz="Asia/Tokyo")
@tasks.task("daily-report")
def report() -> None: ...

"""


@pytest.fixture
def pgqueue(dsn: str) -> Command:
    return Command(dsn)


@pytest.fixture
def database(dsn: str) -> Any:
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


def test_list_shows_each_one_in_words(pgqueue: Command, database: Any) -> None:
    assert "no schedules yet" in pgqueue("schedules", "list").stdout
    save(database, "daily-report", cron="0 9 * * *", tz="Asia/Tokyo")
    tick(database, "daily-report")
    save(database, "broken")
    pgqueue.sql("UPDATE pgqueue.schedules SET enabled = false, error = 'odd' WHERE name = 'broken'")

    shown = pgqueue("schedules", "list").stdout
    assert "at 09:00 every day (Asia/Tokyo)" in shown
    assert "odd" in shown
    first, second = pgqueue.json("schedules", "list")["schedules"]
    assert (first["name"], first["state"], first["runs"]) == ("daily-report", "enabled", 0)
    assert datetime.fromisoformat(first["next_run_at"]).hour == 0
    assert (second["state"], second["error"], second["next_run_at"]) == ("error", "odd", None)


def test_show_tells_what_it_does_and_what_became_of_its_ticks(
    pgqueue: Command, database: Any
) -> None:
    save(database, "often", misfire="all", misfire_max=2, grace=30, jitter=90)
    behind(database, "often", minutes=10)
    tick(database, "often")

    shown = pgqueue("schedules", "show", "often").stdout
    assert "every minute (UTC)" in shown
    assert "up to 1 min 30 s" in shown
    assert "missed, until" in shown
    found = pgqueue.json("schedules", "show", "often")
    assert {each["outcome"] for each in found["ticks"]} == {"enqueued", "missed"}
    assert found["args"] == {}
    assert found["misfire_max"] == 2
    refused = pgqueue("schedules", "show", "nothing", exits=1)
    assert "pgqueue schedules list" in refused.stderr


def test_next_shows_the_coming_ticks_by_the_clocks_of_the_zone(
    pgqueue: Command, database: Any
) -> None:
    start = datetime(2027, 3, 27, tzinfo=UTC)
    save(database, "nightly", cron="30 2 * * *", tz="Europe/Berlin", start_at=start)
    found = pgqueue.json("schedules", "next", "nightly", "-n", "3")
    assert found["words"] == "30 2 * * *"
    assert [tick["local"] for tick in found["ticks"]] == [
        "2027-03-27T02:30:00+01:00",
        "2027-03-28T03:00:00+02:00",
        "2027-03-29T02:30:00+02:00",
    ]
    assert [tick["shifted"] for tick in found["ticks"]] == [False, True, False]
    shown = pgqueue("schedules", "next", "nightly", "-n", "3").stdout
    assert "Sun 2027-03-28 03:00:00+02:00" in shown
    assert "the clocks leave out its time" in shown

    save(
        database, "ending", every=3600, start_at=start, end_at=datetime(2027, 3, 27, 1, tzinfo=UTC)
    )
    assert len(pgqueue.json("schedules", "next", "ending")["ticks"]) == 2


def test_people_run_enable_and_disable(pgqueue: Command, database: Any) -> None:
    save(database, "often")
    job_id = int(pgqueue("schedules", "run", "often", "--actor", "ann").stdout)
    assert pgqueue.sql("SELECT id, actor FROM pgqueue.jobs") == [(job_id, "ann")]
    pgqueue("schedules", "disable", "often", "--reason", "moving")
    assert pgqueue.json("schedules", "list")["schedules"][0]["state"] == "disabled"
    assert "is disabled" in pgqueue("schedules", "next", "often").stderr
    assert pgqueue.json("schedules", "enable", "often") == {"name": "often", "state": "enabled"}
    assert pgqueue.sql(
        "SELECT verb, reason FROM pgqueue.audit WHERE verb LIKE '%%able%%' ORDER BY id"
    ) == [("disable schedule", "moving"), ("enable schedule", None)]
    for verb in ("run", "enable", "disable"):
        assert "no schedule 'nothing'" in pgqueue("schedules", verb, "nothing", exits=1).stderr


def test_sync_writes_schedules_down_shows_drift_and_prunes_on_demand(
    pgqueue: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "declared_schedules.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    path = "declared_schedules:tasks"

    assert "schedule daily-report: made" in pgqueue("sync", path).stdout
    pgqueue.sql("UPDATE pgqueue.schedules SET cron = '0 8 * * *'")
    shown = pgqueue("sync", path).stdout
    assert "schedule daily-report: changed" in shown
    assert "cron: 0 8 * * * -> 0 9 * * *" in shown
    pgqueue.sql(
        "INSERT INTO pgqueue.schedules (name, task, cron, source)"
        " VALUES ('old', 'gone', '@daily', 'code')"
    )
    assert "old: no longer declared" in pgqueue("sync", path).stdout
    saved = pgqueue.json("sync", path, "--prune")["schedules"]
    assert [(each["name"], each["answer"]) for each in saved] == [
        ("daily-report", "unchanged"),
        ("old", "pruned"),
    ]


@pytest.mark.parametrize("command", ["list", "show", "next", "run", "enable", "disable"])
def test_each_command_shows_examples(pgqueue: Command, command: str) -> None:
    shown = pgqueue("schedules", command, "--help").stdout
    assert f"pgqueue schedules {command}" in shown.partition("Example")[2]
