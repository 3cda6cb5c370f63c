"""Fifty secrets go through every path that fails, and are looked for wherever anything is kept."""

import base64
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

import pgqueue
from pgqueue import KeyRing, NewJob, migrate
from tests import safe_tasks
from tests.command import Command, run_process
from tests.postgres import Server
from tests.process import Stage, WorkerProcess
from tests.scraping import free_port, scrape
from tests.test_exporter import read_once

KEY = KeyRing.new_key()
TASKS = "tests.safe_tasks:tasks"
RING = {safe_tasks.KEYS: f"k:{base64.b64encode(KEY).decode()}"}
WAYS = ("return", "fail", "chain", "exit", "log")


def canary(n: int) -> str:
    """A word that stands nowhere else: it has no shape that anybody could know."""
    return f"canary{n:02}x{os.urandom(6).hex()}"


def found(secrets: list[str], place: str, content: str | bytes) -> list[str]:
    """Where which of the secrets is."""
    data = content if isinstance(content, bytes) else content.encode()
    return [f"{secret} in {place}" for secret in secrets if secret.encode() in data]


def files_below(directory: Path) -> Iterator[Path]:
    return (path for path in directory.rglob("*") if path.is_file())


def rows_of(connection: psycopg.Connection[Any]) -> Iterator[tuple[str, str]]:
    """Every table and view of the schema, and all that is in it."""
    names = connection.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'pgqueue'::regnamespace"
        " AND relkind IN ('r', 'p', 'v', 'm')"
    ).fetchall()
    for (name,) in names:
        rows = connection.execute(
            sql.SQL("SELECT t::text FROM pgqueue.{} AS t").format(sql.Identifier(name))
        ).fetchall()
        yield name, str(rows)


def encrypted_jobs(secrets: Iterator[str]) -> list[NewJob]:
    """Jobs whose arguments are secrets, and whose handlers are careless with them."""
    ring = KeyRing({"k": KEY})
    tasks = pgqueue.Tasks(keys=ring)
    jobs = []
    for name in ("leak", "leak-in-thread", "leak-in-child"):
        task = tasks.task(name, encrypt=True, max_attempts=1)(_leak)
        jobs += [task.job(secret=next(secrets), how=how) for how in WAYS for _ in range(2)]
    for name in ("hang", "die", "linger"):
        task = tasks.task(name, encrypt=True)(_hold)
        limits: dict[str, Any] = {"max_attempts": 1, "max_crashes": 1}
        if name == "hang":
            limits["timeout"] = 0.3
        jobs.append(task.job(secret=next(secrets)).options(**limits))
    refused = tasks["leak"].job(secret=next(secrets), how="fail")
    return [*jobs, refused.options(actor="eve")]


def _leak(secret: str, how: str) -> None: ...


def _hold(secret: str) -> None: ...


def shaped_jobs(first: int) -> list[NewJob]:
    return [
        NewJob("shaped", f'{{"n": {first + n}, "how": "{how}"}}')
        for n, how in enumerate(("return", "progress", "fail", "progress") * 3)
    ]


def shown_by_commands(dsn: str, dead: list[int]) -> Iterator[tuple[str, str]]:
    """What the command line prints: of all jobs together, and of each."""
    command = Command(dsn)
    everything = ("--all", "--dry-run")
    of_all: list[tuple[object, ...]] = [
        ("status",),
        ("alerts", "--all"),
        ("top", "--once"),
        ("audit",),
        ("audit", "--actor", "eve"),
        ("jobs", "list", "--limit", 1000),
        ("dead", "groups"),
        ("dead", "redrive", *everything),
        ("dead", "discard", "--reason", "never", *everything),
        ("jobs", "cancel", *everything),
        ("jobs", "move", "--to", "elsewhere", *everything),
    ]
    of_each = [
        words
        for (job_id,) in command.sql("SELECT id FROM pgqueue.all_jobs")
        for words in (("jobs", "show", job_id), ("audit", "--job", job_id))
    ]
    of_each += [("dead", "show", job_id) for job_id in dead]
    for words in of_all + of_each:
        for form in (words, (*words, "--json")):
            exits = None if words[0] == "alerts" else 0
            yield " ".join(map(str, form)), command(*form, exits=exits).output


def shown_by_functions(dsn: str) -> Iterator[tuple[str, str]]:
    """What SQL tells of each job beside the views."""
    for name in ("job_story", "why_not_running"):
        told = Command(dsn).sql(
            f"SELECT told::text FROM pgqueue.all_jobs AS job, pgqueue.{name}(job.id) AS told"  # noqa: S608
        )
        assert told
        yield name, str(told)


def unreachable(secret: str) -> Iterator[tuple[str, str]]:
    """What is said of a database that is not there, whose password is the secret."""
    for dsn in (
        make_conninfo(host="127.0.0.1", port=1, user="app", password=secret, connect_timeout=1),
        f"postgresql://app:{secret}@127.0.0.1:1/shop?connect_timeout=1",
        f"postgresql://app:{secret}@127.0.0.1:nonsense/shop",
    ):
        for words in (("status",), ("migrate",), ("jobs", "list")):
            result = run_process(*words, dsn=dsn)
            assert result.returncode == 3
            yield " ".join(words), result.stdout + result.stderr


def shown_to_the_application(dsn: str) -> Iterator[tuple[str, str]]:
    """What commands print that have the keys, and look at arguments with them."""
    for words in (
        ("doctor", "--app", TASKS),
        ("doctor", "--app", TASKS, "--json"),
        ("dead", "redrive", "--all", "--dry-run", "--fit", TASKS),
        ("dead", "redrive", "--all", "--yes", "--fit", TASKS, "--reason", "once more"),
    ):
        result = run_process(*words, dsn=dsn, more=RING)
        assert result.returncode == 0 or words[0] == "doctor", result.stderr
        assert "Traceback" not in result.stderr
        yield " ".join(words), result.stdout + result.stderr


def told_to_prometheus(dsn: str, worker_port: int) -> Iterator[tuple[str, str]]:
    """What workers and the exporter tell of the same jobs."""
    told = scrape(worker_port)
    assert told.values("pgqueue_worker_attempts_total", task="leak", outcome="failed")
    yield "metrics of the worker", told.text
    told = read_once(dsn)
    assert told.values("pgqueue_dead_jobs", queue="default") != [0]
    yield "metrics of the exporter", told.text


def test_acceptance_24_no_secret_is_found_in_logs_files_views_or_displays(
    own_server: Server, tmp_path: Path
) -> None:
    """All run under workers that log for people, and then the dead once more under one that logs
    JSON. They trace, and tell their figures."""
    dsn = own_server.dsn()
    migrate.upgrade(dsn)
    secrets = [canary(n) for n in range(50)]
    control = "control" + os.urandom(6).hex()
    with psycopg.connect(dsn) as connection:
        jobs = encrypted_jobs(iter(secrets[:34]))
        assert len(jobs) == 34
        ids = [each.id for each in pgqueue.enqueue_many(connection, jobs + shaped_jobs(34))]
        # Kept in the clear, so the search below can be seen to work.
        pgqueue.enqueue(connection, NewJob("unknown", f'{{"name": "{control}"}}'))
    seen: list[tuple[str, str]] = []
    with Stage(dsn, tmp_path) as stage:
        port = free_port()
        how: dict[str, Any] = {
            "tasks": TASKS,
            "more": {**RING, safe_tasks.SECRETS: " ".join(secrets), safe_tasks.TRACES: "1"},
            "queues": {"default": 4},
        }
        workers = [stage.start(**how), stage.start(metrics_port=port, **how)]
        until_over(stage, ids)
        seen += told_to_prometheus(dsn, port)
        end(*workers)
        dead = dead_of(stage)
        assert {"die crashed", "hang timeout", "leak unauthorized"} <= set(dead.values())
        seen += shown_to_the_application(dsn)
        assert not dead_of(stage).keys() & dead.keys()

        workers.append(stage.start(log_format="json", metrics_port=port, **how))
        until_over(stage, ids)
        seen += told_to_prometheus(dsn, port)
        end(workers[-1])
        assert dead_of(stage) == dead, "each died of the same as before"
        assert stage.value("SELECT count(*) FROM pgqueue.finished_jobs") >= 9

        logs = [worker.log for worker in workers]
        for log in (logs[0] + logs[1], logs[2]):
            assert all(word in log for word in ("job_failed", "[encrypted]", "[redacted]"))
        seen += [(f"log of worker {n}", log) for n, log in enumerate(logs)]
        spans = [path.read_text() for path in tmp_path.glob("*.spans")]
        assert all(word in "".join(spans) for word in ("exception.message", "[encrypted]"))
        seen += [("spans", text) for text in spans]

    seen += shown_by_commands(dsn, list(dead))
    seen += shown_by_functions(dsn)
    seen += unreachable(secrets[49])
    with psycopg.connect(dsn, autocommit=True) as connection:
        seen += rows_of(connection)
        connection.execute("CHECKPOINT")
    hits = [hit for place, text in seen for hit in found(secrets, place, text)]
    seen_control = False
    for path in files_below(own_server.cluster.home.path):
        content = path.read_bytes()
        hits += found(secrets, str(path), content)
        seen_control = seen_control or control.encode() in content
    if hits:
        print("\n".join([*logs, *hits]))
    assert hits == []
    assert seen_control, "the search finds nothing at all"


def until_over(stage: Stage, ids: list[int]) -> None:
    unfinished = "SELECT count(*) FROM pgqueue.jobs WHERE id = ANY(%s) AND state <> 'dead'"
    stage.until(lambda: not stage.value(unfinished, ids), within=120)


def dead_of(stage: Stage) -> dict[int, str]:
    """The dead, and of which task and reason each is."""
    return dict(
        stage.sql("SELECT id, task || ' ' || reason FROM pgqueue.jobs WHERE state = 'dead'")
    )


def end(*workers: WorkerProcess) -> None:
    for worker in workers:
        worker.terminate()
    for worker in workers:
        worker.wait(40)


@pytest.mark.parametrize("shape", range(len(safe_tasks.SHAPES)))
def test_the_control_of_the_canaries_shapes(shape: int) -> None:
    """Each shape is one that shows the secret if nothing is done about it."""
    assert "xyz12345" in safe_tasks.SHAPES[shape].format("xyz12345")
