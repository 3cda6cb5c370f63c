"""The figures of a database, as Prometheus gets them: right, few, always there, never backwards."""

import asyncio
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

import pgqueue
from pgqueue import NewJob
from pgqueue.exporter import families, reader
from pgqueue.exporter.main import Exporter
from pgqueue.exporter.reader import DEADLINE
from pgqueue.metrics.exposition import expose
from pgqueue.storage import rollups, upkeep
from pgqueue.storage.drivers import run
from tests.command import MAIN, ROOT, environment, run_process
from tests.postgres import Databases, Server
from tests.proxy import LossyProxy
from tests.scraping import (
    OPENMETRICS,
    Scrape,
    free_port,
    is_answering,
    lint,
    read,
    scrape,
    went_down,
)
from tests.test_queries import fill

pytestmark = pytest.mark.smoke

Connection = psycopg.Connection[Any]

TOLD = """
INSERT INTO pgqueue.tallies
    (at, queue, task, started, succeeded, failed, retried, dead, wait, run, waits, runs)
SELECT now() - age, 'q', 't', 5, 3, 2, 1, 1, 0.25, 1.5, '{1,2,0,2}', '{0,0,4,0,1}'
FROM unnest(%s::interval[]) AS age
"""
AGES = ["0", "3 days", "60 days", "740 days"]


@pytest.fixture(scope="module")
def busy(server: Databases) -> Iterator[str]:
    """A database with a bit of everything."""
    dsn = server.create_migrated()
    with psycopg.connect(dsn) as connection:
        fill(connection)
        connection.execute(TOLD, [AGES[:1]])
        connection.commit()
    yield dsn
    server.drop(dsn)


def read_once(dsn: str, *, most: int = 100, accept: str = "") -> Scrape:
    """What a new exporter tells."""
    return next(read_again(dsn, most=most, accept=accept))


def read_again(dsn: str, *, most: int = 100, accept: str = "") -> Iterator[Scrape]:
    """What one exporter tells, time after time."""
    with asyncio.Runner() as runner:
        exporter = Exporter(dsn, most)
        try:
            while True:
                body, content_type = expose(runner.run(exporter.read()), accept)
                yield read(body.decode(), content_type)
        finally:
            exporter.close()


@contextmanager
def exporting(dsn: str, *words: str) -> Iterator[tuple[int, "subprocess.Popen[str]"]]:
    """An exporter as a process of its own, answering; with the port that it answers on."""
    port = free_port()
    process = subprocess.Popen(
        [*MAIN, "exporter", "--port", str(port), *words],
        env=environment(dsn),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 60
        while not is_answering(port):
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield port, process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_every_family_is_told_with_its_type_help_and_labels_in_both_formats(
    busy: str, accept: str
) -> None:
    told = read_once(busy, accept=accept)
    if not accept:
        lint(told)
    assert ("openmetrics" in told.content_type) is bool(accept)
    assert set(told.families) == {family.name for family in families.FAMILIES}
    for family in families.FAMILIES:
        found = told.families[family.name]
        assert (found.type, found.documentation) == (family.kind, family.help)
        assert found.samples, family.name
        for sample in found.samples:
            assert set(sample.labels) - {"le"} == set(family.labels)
    assert {label for family in families.FAMILIES for label in family.labels} == {
        *("queue", "task", "outcome", "state", "alert", "subject", "severity", "label"),
    }


def test_figures_are_what_the_views_say(busy: str) -> None:
    told = read_once(busy)
    with psycopg.connect(busy) as connection:
        queues = connection.execute(
            "SELECT queue, available, scheduled, retrying, running, dead, workers, slots"
            " FROM pgqueue.queue_stats"
        ).fetchall()
        firing = connection.execute(
            "SELECT alert, queue, subject, severity FROM pgqueue.alerts WHERE state = 'firing'"
        ).fetchall()
        ((batches, jobs),) = connection.execute(
            "SELECT count(*), sum(pending) FROM pgqueue.batch_stats WHERE completed_at IS NULL"
        ).fetchall()
    assert len(queues) >= 1
    states = ("available", "scheduled", "retrying", "running", "dead")
    for queue, *counts, workers, slots in queues:
        for state, count in zip(states, counts, strict=True):
            assert told.value("pgqueue_queue_depth", queue=queue, state=state) == count
        assert told.value("pgqueue_queue_workers", queue=queue) == workers
        assert told.value("pgqueue_queue_slots", queue=queue) == slots
    assert told.value("pgqueue_queue_oldest_waiting_seconds", queue="default") > 0
    assert firing
    for alert, queue, subject, severity in firing:
        labels = {"alert": alert, "queue": queue, "subject": subject, "severity": severity}
        assert told.value("pgqueue_alert_firing", **labels) == 1
    assert sum(told.values("pgqueue_alert_firing")) == len(firing)
    assert told.value("pgqueue_workers", state="alive") == 1
    assert (batches, told.value("pgqueue_batches_open")) == (1, 1)
    assert told.value("pgqueue_batch_jobs_pending") == jobs


def test_counters_and_histograms_are_those_that_workers_told(busy: str) -> None:
    told = read_once(busy)
    of = {"queue": "q", "task": "t"}
    assert told.value("pgqueue_attempts_started_total", **of) == 5
    assert told.value("pgqueue_attempts_total", **of, outcome="succeeded") == 3
    assert told.value("pgqueue_attempts_total", **of, outcome="failed") == 2
    assert told.value("pgqueue_attempts_total", **of, outcome="lost") == 0
    assert told.value("pgqueue_retries_total", **of) == 1
    assert told.value("pgqueue_deaths_total", **of) == 1
    buckets = [("0.001", 1), ("0.002", 3), ("0.004", 3), ("0.008", 5), ("67108.864", 5)]
    for bound, count in [*buckets, ("+Inf", 5)]:
        assert told.value("pgqueue_wait_seconds_bucket", **of, le=bound) == count
    assert told.value("pgqueue_wait_seconds_sum", **of) == 0.25
    assert told.value("pgqueue_run_seconds_count", **of) == 5
    assert told.value("pgqueue_run_seconds_sum", **of) == 1.5


def test_a_task_that_never_ran_is_told_with_zeros(dsn: str) -> None:
    """Or Prometheus would not see the first step of its counters."""
    with psycopg.connect(dsn) as connection:
        run(connection, upkeep.sync_tasks([NewJob("new", queue="email")]))
    told = read_once(dsn)
    outcomes = told.values("pgqueue_attempts_total", queue="email", task="new")
    assert outcomes == [0] * 8


def test_no_counter_goes_down_while_rollups_are_folded_and_forgotten(dsn: str) -> None:
    exporter = read_again(dsn)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(TOLD, [AGES])
        first = next(exporter)
        assert first.value("pgqueue_attempts_total", task="t", outcome="failed") == 8
        run(connection, rollups.fold(limit=2))
        steps = [next(exporter)]
        run(connection, rollups.fold(limit=100))
        steps.append(next(exporter))
        run(connection, upkeep.prune(limit=1000))
        ((days,),) = connection.execute(
            "SELECT count(*) FROM pgqueue.rollups WHERE span = 'day'"
        ).fetchall()
        assert days == 3, "nothing was forgotten"
        steps.append(next(exporter))
        while connection.execute(
            "SELECT pgqueue.reconcile_rollups(now() - interval '1 day')"
        ).fetchone() == (None,):
            time.sleep(0.05)
        steps.append(next(exporter))
        for step in steps:
            assert went_down(first, step) == {}
            assert step.value("pgqueue_attempts_total", task="t", outcome="failed") == 8
            assert step.value("pgqueue_run_seconds_count", task="t") == 20
        connection.execute(TOLD, [AGES[:1]])
        assert next(exporter).value("pgqueue_attempts_total", task="t", outcome="failed") == 10


def test_the_database_itself_keeps_no_more_than_a_thousand_names(connection: Connection) -> None:
    """Whoever makes a queue for each customer must not make a row, or a series, for each."""
    tell = (
        "INSERT INTO pgqueue.tallies (at, queue, task, succeeded)"
        " SELECT now() + n * interval '1 us', 'q' || n, 't', 1"
        " FROM generate_series(%s::int, %s) AS n"
    )

    def totals() -> dict[str, int]:
        return dict(connection.execute("SELECT queue, succeeded FROM pgqueue.totals").fetchall())

    before: dict[str, int] = {}
    told = 0
    for first, last, limit in ((1, 700, 10_000), (701, 1500, 250), (1400, 2000, 10_000)):
        connection.execute(tell, [first, last])
        told += last - first + 1
        folded = limit
        while folded:
            now = totals()
            assert sum(now.values()) == told
            assert not {queue for queue, count in before.items() if now[queue] < count}
            before = now
            folded = run(connection, rollups.fold(limit=limit))
    ((rows,),) = connection.execute(
        "SELECT count(*) FROM pgqueue.rollups WHERE span = 'ever'"
    ).fetchall()
    assert rows == len(before) == 1001
    assert before["other"] == told - 1000


def test_names_beyond_the_limit_are_one_and_are_counted(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        jobs = [NewJob("t", queue=f"q{n}") for n in range(30)]
        pgqueue.enqueue_many(connection, jobs)
        connection.execute(
            "INSERT INTO pgqueue.tallies (at, queue, task, failed)"
            " SELECT now() + n * interval '1 us', 'old', 't' || n, n"
            " FROM generate_series(0, 9) AS n"
        )
    exporter = read_again(dsn, most=4)
    told = next(exporter)
    assert told.value("pgqueue_attempts_total", task="t3", outcome="failed") == 3
    assert told.value("pgqueue_attempts_total", task="other", outcome="failed") == sum(range(4, 10))
    assert len(told.values("pgqueue_queue_delay_seconds")) == 4
    assert told.value("pgqueue_queue_depth", queue="other", state="available") == 27
    assert told.value("pgqueue_exporter_folded", label="task") == 6
    assert told.value("pgqueue_exporter_folded", label="queue") == 27
    # Another exporter gives names to the same, so that a restart is no step in a counter.
    assert went_down(told, read_once(dsn, most=4)) == {}


def test_the_rights_of_a_monitor_are_enough(dsn: str) -> None:
    prefix = f"pgq_{uuid4().hex[:8]}_"
    login = f"{prefix}scraper"
    with psycopg.connect(dsn) as connection:
        fill(connection)
        connection.execute("SELECT pgqueue.create_roles(%s)", [prefix])
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(login)))
        connection.execute(
            sql.SQL("GRANT {} TO {}").format(
                sql.Identifier(f"{prefix}monitor"), sql.Identifier(login)
            )
        )
    try:
        told = read_once(make_conninfo(dsn, user=login))
        assert told.value("pgqueue_up") == 1, told.text
        assert {family.name for family in families.FAMILIES} == set(told.families)
        with psycopg.connect(dsn) as holder:  # somebody else's snapshot, which a monitor cannot see
            holder.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            holder.execute("SELECT 1")
            time.sleep(0.05)
            held = read_once(make_conninfo(dsn, user=login))
        assert held.value("pgqueue_horizon_held_seconds") >= 0.05
    finally:
        with psycopg.connect(dsn, autocommit=True) as connection:
            names = connection.execute(
                "SELECT rolname FROM pg_roles WHERE starts_with(rolname, %s)", [prefix]
            ).fetchall()
            for (name,) in names:
                for statement in ("DROP OWNED BY {}", "DROP ROLE {}"):
                    connection.execute(sql.SQL(statement).format(sql.Identifier(name)))


def test_scrapes_at_once_are_one_reading_and_so_are_those_within_the_interval(busy: str) -> None:
    with exporting(busy, "--interval", "1h") as (port, process), ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda _: scrape(port), range(16)))
        assert {each.value("pgqueue_exporter_reads_total") for each in told} == {1}
        assert {each.value("pgqueue_up") for each in told} == {1}

        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert process.stderr is not None
        said = process.stderr.read()
        assert f"http://127.0.0.1:{port}/metrics" in said
        assert "Traceback" not in said


def test_a_database_that_is_away_is_told_as_such_and_comes_back(own_server: Server) -> None:
    dsn = Databases(own_server.dsn()).create_migrated()
    own_server.stop()
    with exporting(dsn, "--interval", "10ms") as (port, _):
        away = scrape(port)
        assert away.value("pgqueue_up") == 0
        assert "pgqueue_queue_depth" not in away.families
        own_server.start()
        deadline = time.monotonic() + 60
        while scrape(port).value("pgqueue_up") != 1:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        back = scrape(port)
        assert back.value("pgqueue_exporter_failures_total") >= 1
        assert {"pgqueue_workers", "pgqueue_horizon_held_seconds"} <= set(back.families)


@pytest.mark.parametrize("when", ["after login", "always"])
def test_a_database_that_says_nothing_is_given_up_in_time(
    busy: str, when: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert DEADLINE < 10, "Prometheus waits no longer"
    monkeypatch.setattr(reader, "DEADLINE", 1.0)
    with LossyProxy(busy) as proxy:
        exporter = read_again(proxy.dsn)
        assert next(exporter).value("pgqueue_up") == 1
        proxy.silence = "after login"
        if when == "always":
            exporter.close()
            exporter = read_again(proxy.dsn)
            proxy.silence = "always"
        began = time.monotonic()
        assert next(exporter).value("pgqueue_up") == 0
        assert time.monotonic() - began < 4
        proxy.silence = "never"
        assert next(exporter).value("pgqueue_up") == 1
        exporter.close()


def test_a_connection_that_was_cut_meanwhile_is_no_outage(busy: str) -> None:
    exporter = read_again(busy)
    next(exporter)
    with psycopg.connect(busy, autocommit=True) as connection:
        cut = connection.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
            " WHERE application_name = 'pgqueue:exporter' AND datname = current_database()"
        ).fetchall()
    assert cut == [(True,)]
    told = next(exporter)
    assert told.value("pgqueue_up") == 1
    assert told.value("pgqueue_exporter_failures_total") == 0
    exporter.close()


def test_a_locked_table_is_not_waited_for(busy: str) -> None:
    with psycopg.connect(busy) as locker:
        locker.execute("LOCK pgqueue.workers IN ACCESS EXCLUSIVE MODE")
        began = time.monotonic()
        assert read_once(busy).value("pgqueue_up") == 0
        assert time.monotonic() - began < 5
    assert read_once(busy).value("pgqueue_up") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--port", "{taken}"], "port {taken}"), (["--host", "no.such.host.invalid"], "no.such.host")],
)
def test_where_it_cannot_listen_is_said_in_a_sentence(
    busy: str, words: list[str], said: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        answer = run_process("exporter", *[word.format(taken=port) for word in words], dsn=busy)
    assert answer.returncode == 3
    assert said.format(taken=port) in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_missing_schema_ends_it_with_the_command_that_helps(empty_dsn: str) -> None:
    answer = run_process("exporter", "--port", str(free_port()), dsn=empty_dsn)
    assert answer.returncode == 3
    assert "pgqueue migrate" in answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["exporter"],
        ["worker", "tests.worker_tasks:tasks", "--metrics-port", "9188"],
        ["worker", "tests.worker_tasks:tasks", "--metrics-port", "9188", "--processes", "2"],
    ],
)
def test_without_its_package_it_says_what_to_install(
    busy: str, words: list[str], tmp_path: Path
) -> None:
    (tmp_path / "prometheus_client.py").write_text("raise ImportError('not installed')")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    answer = run_process(*words, dsn=busy, more={"PYTHONPATH": path})
    assert answer.returncode == 3
    assert "pip install 'pgqueue[prometheus]'" in answer.stderr
    assert "Traceback" not in answer.stderr
