"""Keys are changed while workers run, and nothing is lost of what the old ones encrypted."""

import base64
from pathlib import Path
from typing import Any

import psycopg
import pytest

import pgqueue
from pgqueue import KeyRing, NewJob, Tasks
from pgqueue.secrecy.sealing import Sealer, kid_of
from pgqueue.storage import rewrapping
from pgqueue.storage.drivers import run
from tests import safe_tasks
from tests.command import Command, run_process
from tests.process import Stage
from tests.rows import claim_one

Connection = psycopg.Connection[Any]

OLD, NEW = KeyRing.new_key(), KeyRing.new_key()


def ring(*names: str) -> KeyRing:
    keys = {"old": OLD, "new": NEW}
    return KeyRing({name: keys[name] for name in names}, names[0])


def in_environment(*names: str) -> dict[str, str]:
    keys = {"old": OLD, "new": NEW}
    return {safe_tasks.KEYS: " ".join(f"{n}:{base64.b64encode(keys[n]).decode()}" for n in names)}


def tasks_with(keys: KeyRing) -> tuple[pgqueue.Task[..., Any], pgqueue.Task[..., Any]]:
    tasks = Tasks(keys=keys)

    @tasks.task("linger", encrypt=True)
    def linger(secret: str) -> None: ...

    @tasks.task("part", encrypt=["secret"])
    def part(n: int, secret: str) -> None: ...

    return linger, part


def rewrap(connection: Connection, *names: str) -> rewrapping.Slice:
    return rewrapping.rewrap_all(Sealer(ring(*names)), lambda operation: run(connection, operation))


def kids(connection: Connection) -> list[str | None]:
    rows = connection.execute("SELECT args::text FROM pgqueue.jobs ORDER BY id")
    return [kid_of(text) for (text,) in rows]


def test_a_rotation_puts_all_that_lives_under_the_current_key(connection: Connection) -> None:
    linger, part = tasks_with(ring("old"))
    jobs = [linger.job("a"), part.job(1, secret="b"), NewJob("plain"), linger.job("c")]
    ids = [each.id for each in pgqueue.enqueue_many(connection, jobs)]
    batch = pgqueue.enqueue_batch(connection, [NewJob("plain")], on_success=linger.job("later"))
    seal = Sealer(ring("old")).seal
    running = claim_one(connection, tasks=["linger"])
    connection.execute(
        "INSERT INTO pgqueue.progress (job_id, attempt, updated_at, detail, checkpoint)"
        " VALUES (%s, 1, now(), %s, %s)",
        [
            running.id,
            seal('{"a": 1}', "linger", running.id, "progress"),
            seal('"here"', "linger", running.id, "checkpoint"),
        ],
    )
    connection.execute(
        "UPDATE pgqueue.jobs SET state = 'dead', reason = 'non_retryable', died_at = now(),"
        " error = %s WHERE id = %s",
        [seal("why", "part", ids[1], "error"), ids[1]],
    )

    done = rewrap(connection, "new", "old")
    assert (done.rewrapped, done.busy, done.unknown) == (5, 0, ())
    assert rewrap(connection, "new", "old").rewrapped == 0, "all is done"

    # The old key is gone, and everything can be read.
    opener = Sealer(ring("new"))
    for job_id, task, args, error in connection.execute(
        "SELECT id, task, args::text, error FROM pgqueue.jobs WHERE task <> 'plain'"
    ):
        opener.open_arguments(args, task, job_id)
        assert error is None or opener.open(error, task, job_id, "error") == "why"
    said = connection.execute("SELECT checkpoint::text FROM pgqueue.progress").fetchone()
    assert said
    assert opener.open(said[0], "linger", running.id, "checkpoint") == '"here"'
    callback = connection.execute(
        "SELECT on_success ->> 'args' FROM pgqueue.batches WHERE id = %s", [batch.id]
    ).fetchone()
    assert callback
    assert "later" in opener.open_arguments(callback[0], "linger", 77)
    assert not {"old"} & set(kids(connection))


def test_a_row_that_is_being_written_is_left_for_the_next_time(dsn: str) -> None:
    linger, _ = tasks_with(ring("old"))
    with psycopg.connect(dsn, autocommit=True) as connection, psycopg.connect(dsn) as other:
        ids = [
            each.id for each in pgqueue.enqueue_many(connection, [linger.job("a"), linger.job("b")])
        ]
        other.execute("SELECT FROM pgqueue.jobs WHERE id = %s FOR UPDATE", [ids[0]])
        done = rewrap(connection, "new", "old")
        assert (done.rewrapped, done.busy) == (1, 1)
        other.rollback()
        assert rewrap(connection, "new", "old").rewrapped == 1
        assert kids(connection) == ["new", "new"]


def test_what_the_ring_cannot_open_is_named_and_left_alone(connection: Connection) -> None:
    linger, _ = tasks_with(ring("old"))
    job = pgqueue.enqueue(connection, linger.job("a")).id
    done = rewrap(connection, "new")
    assert done.rewrapped == 0
    (problem,) = done.unknown
    assert problem.startswith(f"job {job}: args: encrypted under key 'old'")
    assert kids(connection) == ["old"]


def test_many_slices_are_one_rotation(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rewrapping, "SLICE", 7)
    monkeypatch.setattr(rewrapping.rewrap_jobs, "__kwdefaults__", {"limit": 7})
    monkeypatch.setattr(rewrapping.rewrap_batches, "__kwdefaults__", {"limit": 7})
    linger, part = tasks_with(ring("old"))
    jobs = [linger.job(str(n)) if n % 3 else NewJob("plain") for n in range(50)]
    pgqueue.enqueue_many(connection, [*jobs, part.job(1, secret="x")])
    assert rewrap(connection, "new", "old").rewrapped == 34
    assert [(each.kid, each.live) for each in run(connection, rewrapping.usage())] == [("new", 34)]


def test_keys_are_changed_under_running_workers(dsn: str, tmp_path: Path) -> None:
    """The way that KeyRing describes, step by step, and a job of each step survives all."""
    command = Command(dsn)
    linger, _ = tasks_with(ring("old"))
    marks = [f"marmalade {n}" for n in range(300)]

    def use(*names: str) -> dict[str, Any]:
        return {"tasks": "tests.safe_tasks:tasks", "more": in_environment(*names)}

    def enqueue(job: Any, some: list[str]) -> None:
        with psycopg.connect(dsn) as connection:
            pgqueue.enqueue_many(connection, [job(mark).options(actor="ada") for mark in some])

    with Stage(dsn, tmp_path) as stage:
        first = stage.start(**use("old", "new"), queues={"default": 5})
        stage.ready(first)
        enqueue(linger.job, marks[:100])
        second = stage.start(**use("new", "old"), queues={"default": 5})
        stage.ready(second)
        enqueue(tasks_with(ring("new", "old"))[0].job, marks[100:200])
        enqueue(linger.job, marks[200:])  # of an application that was late
        for _ in range(3):
            rotated = run_process(
                "keys",
                "rotate",
                "tests.safe_tasks:tasks",
                dsn=dsn,
                more=in_environment("new", "old"),
            )
            assert rotated.returncode == 0, rotated.stderr
        stage.until_drained(within=120)
        assert stage.states() == {"succeeded": 300}
        assert first.exit_code is None
        assert second.exit_code is None
    usage = {each["kid"]: each for each in command.json("keys", "usage")["keys"]}
    assert all(each["live"] == 0 for each in usage.values())
    assert usage["old"]["history"] > 0
    assert usage["old"]["until"]
    assert "HISTORY" in command("keys", "usage").output


def test_a_rotation_without_keys_is_refused(dsn: str) -> None:
    result = run_process("keys", "rotate", "tests.worker_tasks:tasks", dsn=dsn)
    assert result.returncode == 3
    assert "Tasks(keys=" in result.stderr
