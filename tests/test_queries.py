"""The queries in sql/ run as they stand, on a database with a bit of everything in it."""

import re
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest

import pgqueue
from pgqueue import NewJob
from pgqueue.storage import claiming, upkeep
from pgqueue.storage.drivers import run
from tests.postgres import Databases

QUERIES = sorted((Path(__file__).parents[1] / "sql").glob("*.sql"))
RULES = Path(__file__).parents[1] / "sql" / "prometheus-alerts.yml"


class Busy(NamedTuple):
    """A database with a bit of everything."""

    connection: psycopg.Connection
    dsn: str
    job: int


@pytest.fixture(scope="module")
def busy(server: Databases) -> Iterator[Busy]:
    dsn = server.create_migrated()
    with psycopg.connect(dsn) as connection:
        job = fill(connection)
        connection.commit()
        yield Busy(connection, dsn, job)
    server.drop(dsn)


def fill(connection: psycopg.Connection) -> int:
    """Put in jobs that run, wait, are to be tried again, and are dead; return one that waits."""
    me = str(uuid.uuid4())
    pgqueue.enqueue_batch(connection, [NewJob("t") for _ in range(4)], name="four")
    pgqueue.enqueue_many(connection, [NewJob("unserved", delay=d) for d in (None, 60)])
    pgqueue.enqueue(connection, NewJob("later", delay=3600), actor="ada")
    run(
        connection,
        claiming.claim(
            worker_id=me, limits={"default": 1}, tasks=["t"], lease=timedelta(seconds=30)
        ),
    )
    run(
        connection,
        upkeep.record_worker(
            worker_id=me, pid=1, host="h", version="0", queues={"default": 10}, tasks=["t"]
        ),
    )
    connection.execute(
        "INSERT INTO pgqueue.schedules (name, task, cron, next_run_at)"
        " VALUES ('nightly', 't', '0 2 * * *', now() - interval '1 hour')"
    )
    connection.execute(
        "UPDATE pgqueue.jobs SET state = 'dead', reason = 'non_retryable', died_at = now(),"
        " error_type = 'E', error = 'e' WHERE id = (SELECT max(id) FROM pgqueue.jobs"
        " WHERE state = 'available' AND task = 't')"
    )
    connection.execute(
        "UPDATE pgqueue.jobs SET state = 'scheduled', failures = 1, run_at = now() + interval '1 h'"
        " WHERE id = (SELECT max(id) FROM pgqueue.jobs WHERE state = 'available' AND task = 't')"
    )
    connection.execute(
        "INSERT INTO pgqueue.tallies (at, queue, task, started, succeeded, wait, run, waits, runs)"
        " VALUES (date_trunc('minute', now()), 'default', 't', 1, 1, 1, 1, '{1}', '{1}')"
    )
    row = connection.execute(
        "SELECT min(id), pgqueue.edit(min(id), '{}', 'ann') FROM pgqueue.jobs"
        " WHERE state = 'available' AND task = 't'"
    ).fetchone()
    assert row
    assert row[1] == "edited"
    return int(row[0])


@pytest.mark.parametrize("path", QUERIES, ids=lambda path: path.stem)
def test_a_query_runs_as_it_stands_and_finds_something(busy: Busy, path: Path) -> None:
    assert path.read_text().startswith("-- "), "it says what it answers"
    text = re.sub(r"(?<!:):id\b", str(busy.job), path.read_text()).replace(":'actor'", "'ada'")
    assert len(busy.connection.execute(text).fetchall()) >= 1


@pytest.mark.skipif(shutil.which("psql") is None, reason="there is no psql here")
@pytest.mark.parametrize("path", QUERIES, ids=lambda path: path.stem)
def test_psql_runs_it_from_the_file(busy: Busy, path: Path) -> None:
    command = ["psql", "-X", "-d", busy.dsn, "-v", "ON_ERROR_STOP=1", "-f", str(path)]
    if ":id" in path.read_text():
        command[2:2] = ["-v", f"id={busy.job}"]
    if ":'actor'" in path.read_text():
        command[2:2] = ["-v", "actor=ada"]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    assert re.search(r"^\([1-9]\d* rows?\)$", said.stdout, re.MULTILINE)


def test_a_query_says_how_to_call_it(busy: Busy) -> None:
    for path in QUERIES:
        variable = "-v id=4711 " if ":id" in path.read_text() else ""
        if ":'actor'" in path.read_text():
            variable = "-v actor=123 "
        assert f"psql {variable}-f sql/{path.name}" in path.read_text()


def test_there_are_queries() -> None:
    assert {path.stem for path in QUERIES} == {
        *(
            "actor",
            "alerts",
            "audit",
            "batches",
            "dead",
            "queues",
            "retries",
            "running",
            "schedules",
        ),
        *("story", "tasks", "throughput", "unserved", "why", "workers"),
    }


def test_the_rules_for_prometheus_have_the_thresholds_of_the_table(busy: Busy) -> None:
    """Of the three alerts that are spelled out there; the others follow the table by themselves."""
    text = RULES.read_text()
    rules = {
        alert: (threshold, hold_for, severity)
        for alert, threshold, hold_for, severity in busy.connection.execute(
            "SELECT alert, threshold::float8, extract(epoch FROM hold_for)::float8 / 60, severity"
            " FROM pgqueue.alert_rules WHERE queue = ''"
        )
    }
    for alert, name in (
        ("backlog", "PgqueueBacklog"),
        ("failure_rate", "PgqueueFailureRate"),
        ("delay", "PgqueueDelay"),
    ):
        rule = text.partition(f"alert: {name}\n")[2].partition("- alert:")[0]
        found = re.search(
            r">= ([\d.]+)\n.*?for: (\d+)m\n\s+labels:\n\s+severity: (\w+)", rule, re.DOTALL
        )
        assert found, name
        assert (float(found[1]), float(found[2]), found[3]) == rules[alert]
    assert ">= 20" in text
    assert "[5m]" in text
