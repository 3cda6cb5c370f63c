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

KEY = KeyRing.new_key()
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


def shown_by_commands(server: Server, dsn: str) -> Iterator[tuple[str, str]]:
    """What the command line prints of every job."""
    command = Command(dsn)
    yield "jobs list", command("jobs", "list", "--limit", 1000).output
    yield "jobs list --json", command("jobs", "list", "--limit", 1000, "--json").output
    for (job_id,) in command.sql("SELECT id FROM pgqueue.all_jobs"):
        yield f"jobs show {job_id}", command("jobs", "show", job_id).output
        yield f"jobs show {job_id} --json", command("jobs", "show", job_id, "--json").output


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


def test_acceptance_24_no_secret_is_found_in_logs_files_views_or_displays(
    own_server: Server, tmp_path: Path
) -> None:
    own_server_dsn = own_server.dsn()
    migrate.upgrade(own_server_dsn)
    secrets = [canary(n) for n in range(50)]
    control = "control" + os.urandom(6).hex()
    with psycopg.connect(own_server_dsn) as connection:
        jobs = encrypted_jobs(iter(secrets[:34]))
        assert len(jobs) == 34
        ids = [each.id for each in pgqueue.enqueue_many(connection, jobs + shaped_jobs(34))]
        # Kept in the clear, so the search below can be seen to work.
        pgqueue.enqueue(connection, NewJob("unknown", f'{{"name": "{control}"}}'))
    workers: list[WorkerProcess] = []
    with Stage(own_server_dsn, tmp_path) as stage:
        more = {
            safe_tasks.KEYS: f"k:{base64.b64encode(KEY).decode()}",
            safe_tasks.SECRETS: " ".join(secrets),
        }
        workers = [
            stage.start(tasks="tests.safe_tasks:tasks", more=more, queues={"default": 4})
            for _ in range(2)
        ]
        stage.until(
            lambda: (
                not stage.value(
                    "SELECT count(*) FROM pgqueue.jobs WHERE id = ANY(%s) AND state <> 'dead'", ids
                )
            ),
            within=120,
        )
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.wait(40)
        logs = [(f"log of worker {n}", worker.log) for n, worker in enumerate(workers)]
        reasons = dict(
            stage.sql(
                "SELECT task || ' ' || reason, count(*) FROM pgqueue.jobs"
                " WHERE state = 'dead' GROUP BY 1"
            )
        )
        assert {"die crashed", "hang timeout", "leak unauthorized"} <= reasons.keys()
        assert stage.value("SELECT count(*) FROM pgqueue.finished_jobs") >= 9

    hits: list[str] = []
    for place, text in logs:
        hits += found(secrets, place, text)
    said = " ".join(text for _, text in logs)
    assert all(word in said for word in ("job_failed", "[encrypted]", "[redacted]"))
    with psycopg.connect(own_server_dsn, autocommit=True) as connection:
        for name, text in rows_of(connection):
            hits += found(secrets, name, text)
        connection.execute("CHECKPOINT")
    for place, text in shown_by_commands(own_server, own_server_dsn):
        hits += found(secrets, place, text)
    for place, text in unreachable(secrets[49]):
        hits += found(secrets, place, text)
    seen_control = False
    for path in files_below(own_server.cluster.home.path):
        content = path.read_bytes()
        hits += found(secrets, str(path), content)
        seen_control = seen_control or control.encode() in content
    if hits:
        for worker in workers:
            print(worker.log)
        print("\n".join(hits))
    assert hits == []
    assert seen_control, "the search finds nothing at all"


@pytest.mark.parametrize("shape", range(len(safe_tasks.SHAPES)))
def test_the_control_of_the_canaries_shapes(shape: int) -> None:
    """Each shape is one that shows the secret if nothing is done about it."""
    assert "xyz12345" in safe_tasks.SHAPES[shape].format("xyz12345")
