"""``pgqueue batches`` and the settings of queues."""

import os
import pty
import subprocess
import threading

import psycopg
import pytest

import pgqueue
from pgqueue import Batch, NewJob
from pgqueue.cli import batches as batches_command
from tests.command import MAIN, Command, environment


@pytest.fixture
def pgqueue_command(dsn: str) -> Command:
    return Command(dsn)


def make(dsn: str, count: int, **options: object) -> Batch:
    with psycopg.connect(dsn) as connection:
        return pgqueue.enqueue_batch(connection, [NewJob("work")] * count, **options)  # type: ignore[arg-type]


def bury(command: Command, limit: int) -> None:
    command.sql(
        "UPDATE pgqueue.jobs SET state = 'dead', reason = 'timeout', died_at = now()"
        " WHERE id IN (SELECT id FROM pgqueue.jobs ORDER BY id LIMIT %s)",
        limit,
    )


def test_batches_are_listed_with_how_far_they_are(pgqueue_command: Command) -> None:
    assert "no such batches" in pgqueue_command("batches", "list").stderr
    make(pgqueue_command.dsn, 0, name="empty")
    batch = make(pgqueue_command.dsn, 4, name="import")
    bury(pgqueue_command, 1)

    titles, first, second = pgqueue_command("batches", "list").stdout.splitlines()
    assert titles.split() == [
        *("ID", "NAME", "WHEN", "DONE", "JOBS", "SUCCEEDED", "FAILED", "CANCELLED"),
    ]
    assert first.split()[1:] == ["import", "made", "now", "25", "%", "4", "0", "1", "0"]
    assert second.split()[1:] == ["empty", "over", "now", "100", "%", "0", "0", "0", "0"]
    listed = pgqueue_command.json("batches", "list", "--open", "--limit", "1")
    assert [each["id"] for each in listed["batches"]] == [batch.id] == [listed["next"]]
    assert (listed["batches"][0]["pending"], listed["batches"][0]["progress"]) == (3, 0.25)
    more = pgqueue_command("batches", "list", "--limit", "1").stderr
    assert f"--before {batch.id}" in more
    page = pgqueue_command("batches", "list", "--before", batch.id).stdout
    assert "empty" in page
    assert "import" not in page


def test_a_batch_is_shown_and_its_jobs_are_listed(pgqueue_command: Command) -> None:
    batch = make(pgqueue_command.dsn, 3, name="import", actor="ann")
    make(pgqueue_command.dsn, 1)
    bury(pgqueue_command, 1)

    shown = pgqueue_command("batches", "show", batch.id).stdout
    assert f"batch {batch.id}  import  under way" in shown
    for fact in ("actor        ann", "jobs         3", "failed       1", "pending      2"):
        assert f"  {fact}" in shown
    listed = pgqueue_command.json("jobs", "list", "--batch", batch.id)["jobs"]
    assert len(listed) == 3
    dead = pgqueue_command("jobs", "list", "--batch", batch.id, "--state", "dead", "--ids").stdout
    assert len(dead.split()) == 1
    more = pgqueue_command("jobs", "list", "--batch", batch.id, "--limit", "1").stderr
    assert f"--batch {batch.id} --limit 1 --before" in more
    assert f"batch        {batch.id}" in pgqueue_command("jobs", "show", dead.strip()).stdout


def test_a_batch_is_cancelled_and_its_dead_are_retried(pgqueue_command: Command) -> None:
    batch = make(pgqueue_command.dsn, 5)
    bury(pgqueue_command, 2)

    said = pgqueue_command("batches", "cancel", batch.id, "--actor", "ann", "--reason", "r").stdout
    assert "3 jobs cancelled, 0 that run were asked to stop" in said
    assert pgqueue_command.json("batches", "retry", batch.id) == {
        "batch": batch.id,
        "retried": 2,
        "busy": 0,
    }
    assert "0 dead jobs will run again" in pgqueue_command("batches", "retry", batch.id).stdout
    verbs = pgqueue_command.sql(
        "SELECT verb, actor, reason, count(*)::int FROM pgqueue.audit WHERE verb = 'cancel'"
        " GROUP BY 1, 2, 3"
    )
    assert verbs == [("cancel", "ann", "r", 3)]


def test_what_was_busy_is_said(pgqueue_command: Command) -> None:
    batch = make(pgqueue_command.dsn, 1)
    with psycopg.connect(pgqueue_command.dsn) as locker:
        locker.execute("SELECT FROM pgqueue.jobs FOR NO KEY UPDATE")
        said = pgqueue_command("batches", "cancel", batch.id)
    assert "1 jobs were being written right now and left alone; cancel again" in said.stderr


@pytest.mark.parametrize("verb", ["show", "cancel", "retry"])
def test_a_batch_that_is_none_is_refused(pgqueue_command: Command, verb: str) -> None:
    said = pgqueue_command("batches", verb, 4711, exits=1).stderr
    assert said == (
        "Error: no batch 4711: it never existed, is not committed yet, was rolled back, "
        "or was over for 30 days\n"
    )


def test_a_watched_batch_is_waited_for(
    pgqueue_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = make(pgqueue_command.dsn, 2)
    looks = threading.Event()
    monkeypatch.setattr(batches_command, "_LOOK_EVERY", 0.01)
    look = batches_command.perform

    def noted(operation: object) -> object:
        looks.set()
        return look(operation)  # type: ignore[arg-type]

    monkeypatch.setattr(batches_command, "perform", noted)

    def cancel() -> None:
        assert looks.wait(20)
        with psycopg.connect(pgqueue_command.dsn) as connection:
            pgqueue.cancel_batch(connection, batch.id)

    thread = threading.Thread(target=cancel)
    thread.start()
    shown = pgqueue_command.json("batches", "show", batch.id, "--watch")
    thread.join()
    assert (shown["cancelled"], shown["pending"]) == (2, 0)


def test_a_watched_batch_has_a_bar_on_a_terminal(pgqueue_command: Command) -> None:
    batch = make(pgqueue_command.dsn, 4)
    pgqueue_command("batches", "cancel", batch.id)
    ours, theirs = pty.openpty()
    subprocess.run(
        [*MAIN, "batches", "show", str(batch.id), "--watch"],
        env=environment(pgqueue_command.dsn),
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        check=True,
        timeout=60,
    )
    os.close(theirs)
    seen = os.read(ours, 65536).decode()
    os.close(ours)
    assert f"[{'#' * 30}] 100 %  4 of 4" in seen


# Queues


def test_a_queue_is_set_and_new_jobs_have_what_it_says(pgqueue_command: Command) -> None:
    pgqueue_command(
        *("queues", "set", "email", "--keep", "3d", "--keep-dead", "90d", "--priority", "7"),
        *("--max-attempts", "2", "--timeout", "none", "--actor", "ann", "--reason", "small disk"),
    )
    job_id = pgqueue_command("enqueue", "send", "-q", "email").stdout.strip()
    assert pgqueue_command.sql(
        "SELECT priority, max_attempts, timeout, extract(day FROM keep)::int,"
        " extract(epoch FROM keep_dead)::int, keep_cancelled FROM pgqueue.jobs"
    ) == [(7, 2, None, 0, 90 * 86400, None)]
    shown = pgqueue_command("jobs", "show", job_id).stdout
    assert "keep         3 d, dead 90 d" in shown
    listed = pgqueue_command("queues", "list").stdout
    assert "3 d, dead 90 d" in listed
    (settings,) = pgqueue_command.json("queues", "list")["queues"]
    assert (settings["keep"], settings["keep_cancelled"], settings["keep_dead"]) == (
        3 * 86400,
        None,
        90 * 86400,
    )
    pgqueue_command("queues", "set", "email", "--keep", "default", "--timeout", "90s")
    assert pgqueue_command.sql("SELECT keep, timeout_ms, priority FROM pgqueue.queues") == [
        (None, 90_000, 7)
    ]
    audit = pgqueue_command.sql("SELECT actor, queue, reason FROM pgqueue.audit WHERE verb = 'set'")
    assert audit[0] == ("ann", "email", "small disk")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ((), "nothing to set; name a setting"),
        (("--keep", "soon"), "is no length of time"),
        (("--max-attempts", "0"), "0 is not in the range"),
        (("--keep", "none"), "is no length of time"),
    ],
)
def test_a_setting_that_is_none_is_wrong_usage(
    pgqueue_command: Command, words: tuple[str, ...], problem: str
) -> None:
    assert problem in pgqueue_command("queues", "set", "email", *words, exits=2).stderr
