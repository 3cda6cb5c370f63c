"""``pgqueue dead``: what jobs died of, looked at by cause and one by one, run again or given up."""

import doctest
import json
import shlex
from pathlib import Path

import pytest

from pgqueue import JobFilter, KeyRing, Tasks, enqueue, failure, redrive_jobs
from pgqueue.failure import code_of
from pgqueue.storage.connect import connect
from tests.command import Command

DIE = """
UPDATE pgqueue.jobs SET state = 'dead', died_at = clock_timestamp() - %s::interval,
    reason = 'attempts_exhausted', failures = 5, error_type = %s, error = %s, fingerprint = %s
WHERE id = ANY(%s)
"""
TASKS = """
from pgqueue import Tasks
tasks = Tasks()
@tasks.task("greet")
def greet(name: str) -> None: ...
"""


@pytest.fixture
def pgqueue(dsn: str) -> Command:
    return Command(dsn)


def add(pgqueue: Command, task: str = "send", queue: str = "email", args: str = "{}") -> int:
    ((job_id,),) = pgqueue.sql("SELECT pgqueue.enqueue(%s, %s, queue => %s)", task, args, queue)
    return int(job_id)


def die(
    pgqueue: Command,
    *ids: int,
    ago: str = "0",
    kind: str = "ValueError",
    error: str = "no such user",
    fingerprint: str = "f1",
) -> None:
    pgqueue.sql(DIE, ago, kind, error, fingerprint, list(ids))


def test_the_dead_are_shown_by_cause(pgqueue: Command) -> None:
    first, second, other = add(pgqueue), add(pgqueue, task="tell"), add(pgqueue, queue="sms")
    die(pgqueue, first, ago="2 hours")
    die(pgqueue, second, ago="1 hour")
    die(pgqueue, other, kind="KeyError", error="token=abcdef123456", fingerprint="f2")
    said = pgqueue("dead", "groups").stdout
    newest, older = said.splitlines()[1:]
    assert newest.startswith(code_of("f2"))
    assert "KeyError" in newest
    assert "abcdef123456" not in said, "as everywhere, credentials are left out"
    assert older.split()[:2] == [code_of("f1"), "2"]
    assert "send, tell" in older
    assert "2 h ago" in older
    groups = pgqueue.json("dead", "groups")["groups"]
    assert [(group["fingerprint"], group["jobs"]) for group in groups] == [("f2", 1), ("f1", 2)]
    assert groups[1]["newest_ids"] == [second, first]
    for words, expected in (
        (("-q", "sms"), {"f2": 1}),
        (("--task", "send"), {"f2": 1, "f1": 1}),
        (("--since", "90min"), {"f2": 1, "f1": 1}),
        (("--since", "2020-01-01T00:00:00Z"), {"f2": 1, "f1": 2}),
        (("-q", "none"), {}),
        (("--limit", 1), {"f2": 1}),
    ):
        groups = pgqueue.json("dead", "groups", *words)["groups"]
        assert {group["fingerprint"]: group["jobs"] for group in groups} == expected, words
    assert pgqueue("dead", "groups", "-q", "none").stderr == "nothing is dead\n"


def test_a_dead_job_is_shown_with_what_its_row_remembers(pgqueue: Command) -> None:
    job = add(pgqueue, args='{"user_id": 7, "password": "hunter2hunter2"}')
    die(pgqueue, job)
    history = [
        {
            "attempt": attempt,
            "outcome": "failed",
            "ended_at": "2026-11-26T00:00:00+00:00",
            "error_type": "ValueError",
            "error": f"no such user, attempt {attempt}",
            "traceback": f"Traceback of {attempt}",
        }
        for attempt in range(1, 11)
    ]
    pgqueue.sql("UPDATE pgqueue.jobs SET history = %s::json", json.dumps(history))
    result = pgqueue("dead", "show", job)
    said = result.stdout
    for attempt in range(1, 11):
        assert f"no such user, attempt {attempt}" in said
    assert "Traceback of 10" in said
    assert '"user_id": 7' in said
    assert "hunter2" not in said + json.dumps(pgqueue.json("dead", "show", job))
    assert f"pgqueue dead redrive {job}" in result.stderr
    assert f"pgqueue dead redrive --fingerprint {code_of('f1')}" in result.stderr
    assert len(pgqueue.json("dead", "show", job)["attempts"]) == 10


def test_what_is_shown_of_a_cause_can_be_pasted_whatever_it_died_of(pgqueue: Command) -> None:
    cause = "SyntaxError at counting.py:count: don't call ?(...) \u2028 \u00e4 (<unknown>, line ?)"
    ids = [add(pgqueue) for _ in range(3)]
    die(pgqueue, *ids[:2], fingerprint=cause, kind="SyntaxError", error="don't call x(...)")
    die(pgqueue, ids[2])
    codes = {group["code"] for group in pgqueue.json("dead", "groups")["groups"]}
    assert codes == {code_of(cause), code_of("f1")}
    (line,) = [line for line in pgqueue("dead", "groups").stdout.splitlines() if "don't" in line]
    assert line.startswith(code_of(cause))
    assert "SyntaxError at counting.py:count: don't call x(...)" in line
    assert cause not in line
    advice = pgqueue("dead", "show", ids[0]).stderr.splitlines()[-1].partition("pgqueue ")[2]
    assert pgqueue(*shlex.split(advice), "--yes").stdout == "2 jobs redriven\n"
    by_text = JobFilter(fingerprint="f1")
    with connect(pgqueue.dsn, "test") as connection:
        assert redrive_jobs(connection, by_text).done == 1


def test_a_code_is_as_its_example_says() -> None:
    assert doctest.testmod(failure) == (0, 1)


def test_what_is_encrypted_stays_so(pgqueue: Command) -> None:
    tasks = Tasks(keys=KeyRing({"a": KeyRing.new_key()}))

    @tasks.task("sealed", encrypt=True)
    def sealed(name: str) -> None: ...

    with connect(pgqueue.dsn, "test") as connection:
        job = enqueue(connection, sealed.job("Ada Lovelace")).id
    die(pgqueue, job)
    assert "[encrypted]" in pgqueue("dead", "show", job).stdout


def test_only_a_dead_job_is_shown_as_one(pgqueue: Command) -> None:
    job = add(pgqueue)
    said = pgqueue("dead", "show", job, exits=1).stderr
    assert f"is not dead, it is available: pgqueue jobs show {job}" in said
    assert "no job 99" in pgqueue("dead", "show", 99, exits=1).stderr


def test_a_redrive_takes_those_of_one_cause_and_says_why(pgqueue: Command) -> None:
    ids = [add(pgqueue) for _ in range(4)]
    die(pgqueue, *ids[:2])
    die(pgqueue, *ids[2:], fingerprint="f2")
    words = ("dead", "redrive", "--fingerprint", "f1", "--yes", "--reason", "mended")
    assert pgqueue(*words, "--actor", "ann").stdout == "2 jobs redriven\n"
    assert pgqueue.sql("SELECT id, failures FROM pgqueue.jobs WHERE state = 'available'") == [
        (ids[0], 0),
        (ids[1], 0),
    ]
    audit = pgqueue.sql("SELECT verb, actor, job_id, reason FROM pgqueue.audit WHERE job_id > 0")
    assert audit == [("retry", "ann", job, "mended") for job in ids[:2]]


def test_what_dies_again_meanwhile_is_not_run_in_circles(pgqueue: Command) -> None:
    """A trigger kills each job again as soon as it is redriven."""
    ids = [add(pgqueue) for _ in range(20)]
    die(pgqueue, *ids)
    pgqueue.sql(
        """
        CREATE FUNCTION die_again() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            NEW.state := 'dead'; NEW.reason := 'timeout'; NEW.died_at := clock_timestamp();
            RETURN NEW;
        END $$;
        CREATE TRIGGER die_again BEFORE UPDATE ON pgqueue.jobs FOR EACH ROW
        WHEN (OLD.state = 'dead' AND NEW.state = 'available') EXECUTE FUNCTION die_again()
        """
    )
    assert pgqueue.json("dead", "redrive", "--all", "--yes", "--rate", "100/s")["done"] == 20


def test_a_redrive_by_ids_says_which_were_not_dead(pgqueue: Command) -> None:
    dead, waiting = add(pgqueue), add(pgqueue)
    die(pgqueue, dead)
    told = pgqueue.json("dead", "redrive", dead, waiting, 99, "--yes")
    assert (told["done"], told["refused"]) == (1, {"available": 1, "gone": 1})


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "fitting_app.py").write_text(TASKS)
    monkeypatch.syspath_prepend(tmp_path)
    return "fitting_app:tasks"


def test_a_redrive_leaves_those_whose_arguments_do_not_fit_the_code(
    pgqueue: Command, app: str
) -> None:
    fine = add(pgqueue, "greet", args='{"name": "Ada"}')
    wrong = add(pgqueue, "greet", args='{"title": "Dr"}')
    unknown = add(pgqueue, "forgotten")
    die(pgqueue, fine, wrong, unknown)
    dry = pgqueue("dead", "redrive", "--all", "--fit", app, "--dry-run")
    assert "2 that have arguments that do not fit their task" in dry.stderr
    done = pgqueue("dead", "redrive", "--all", "--fit", app, "--yes")
    assert done.stdout == "1 jobs redriven\n"
    assert f"job {wrong}: " in done.stderr
    assert f"job {unknown}: no task named 'forgotten'" in done.stderr
    assert pgqueue.sql("SELECT id FROM pgqueue.jobs WHERE state = 'available'") == [(fine,)]
    assert pgqueue.json("dead", "redrive", "--all", "--fit", app, "--yes", exits=1)["refused"] == {
        "unfit": 2
    }


def test_a_discard_needs_a_reason_and_leaves_the_living(pgqueue: Command) -> None:
    dead, waiting = add(pgqueue), add(pgqueue)
    die(pgqueue, dead)
    assert "--reason" in pgqueue("dead", "discard", "--all", "--yes", exits=2).stderr
    pgqueue("dead", "discard", "-q", "email", "--yes", "--reason", "spam")
    assert pgqueue.sql("SELECT id, state FROM pgqueue.all_jobs ORDER BY id") == [
        (dead, "discarded"),
        (waiting, "available"),
    ]
    assert pgqueue.sql("SELECT reason FROM pgqueue.audit WHERE job_id = %s", dead) == [("spam",)]
