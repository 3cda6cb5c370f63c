"""Verbs on many jobs from the command line: shown first, asked about, resumable, no faster than
told."""

import json
import os
import pty
import re
import signal
import subprocess
import time
from typing import Any

import psycopg
import pytest

from pgqueue.cli import database
from pgqueue.cli.pace import Pace
from tests.command import MAIN, Command, environment
from tests.postgres import eventually

DIE = """
UPDATE pgqueue.jobs SET state = 'dead', died_at = clock_timestamp(), reason = 'attempts_exhausted',
    failures = 5, error_type = 'ValueError', error = 'no such user', fingerprint = 'f1'
"""
RUN = """
UPDATE pgqueue.jobs SET state = 'running', attempt = attempt + 1, claimed_at = now(),
    worker_id = gen_random_uuid(), lease_until = now() + interval '1 minute'
WHERE id = %s
"""
EVERYTHING = """
SELECT id, xmin::text, state, queue, priority, run_at, cancel_requested_at FROM pgqueue.jobs
ORDER BY id
"""
VERBS: list[tuple[object, ...]] = [
    ("jobs", "cancel"),
    ("jobs", "run-now"),
    ("jobs", "reschedule", "--in", "2h"),
    ("jobs", "reprioritise", 7),
    ("jobs", "move", "--to", "elsewhere"),
    ("dead", "redrive"),
    ("dead", "discard", "--reason", "r"),
]


@pytest.fixture
def pgqueue(dsn: str) -> Command:
    return Command(dsn)


def fill(pgqueue: Command, jobs: int, task: str = "send") -> None:
    pgqueue.sql(
        "SELECT pgqueue.enqueue(%s, delay => '1 hour') FROM generate_series(1, %s)", task, jobs
    )


def some_of_each(pgqueue: Command) -> None:
    fill(pgqueue, 3, "dying")
    pgqueue.sql(DIE)
    fill(pgqueue, 3)


def touched(pgqueue: Command, verb: str) -> list[int]:
    """The jobs that the audit has this verb for, as often as it has."""
    rows = pgqueue.sql("SELECT job_id FROM pgqueue.audit WHERE verb = %s ORDER BY id", verb)
    return [job_id for (job_id,) in rows]


@pytest.mark.parametrize("words", VERBS, ids=lambda words: words[1])
def test_a_dry_run_says_what_would_be_done_and_changes_nothing(
    pgqueue: Command, words: tuple[object, ...]
) -> None:
    some_of_each(pgqueue)
    before = pgqueue.sql(EVERYTHING), pgqueue.sql("SELECT count(*) FROM pgqueue.audit")
    said = pgqueue(*words, "--all", "--dry-run").output
    assert said.startswith("3 jobs would be ")
    assert "send" in said or "dying" in said
    told = pgqueue.json(*words, "--all", "--dry-run")
    assert (told["would_touch"], told["done"], told["dry_run"]) == (3, 0, True)
    assert len(told["sample"]) == 3
    assert (pgqueue.sql(EVERYTHING), pgqueue.sql("SELECT count(*) FROM pgqueue.audit")) == before


@pytest.mark.parametrize("words", VERBS, ids=lambda words: words[1])
def test_it_asks_before_it_does_anything(pgqueue: Command, words: tuple[object, ...]) -> None:
    some_of_each(pgqueue)
    before = pgqueue.sql(EVERYTHING)
    for answer in ("n\n", ""):
        refused = pgqueue(*words, "--all", exits=1, stdin=answer)
        assert "3 jobs to be " in refused.stderr
        assert "go on?" in refused.stderr
    assert pgqueue.sql(EVERYTHING) == before
    done = pgqueue(*words, "--all", stdin="y\n")
    assert done.stdout.splitlines()[-1].startswith("3 jobs ")


@pytest.mark.parametrize("words", VERBS, ids=lambda words: words[1])
def test_which_jobs_must_be_said(pgqueue: Command, words: tuple[object, ...]) -> None:
    some_of_each(pgqueue)
    before = pgqueue.sql(EVERYTHING)
    assert "say which jobs" in pgqueue(*words, "--yes", exits=2).stderr
    assert pgqueue.sql(EVERYTHING) == before


def test_what_is_refused_is_counted_by_state(pgqueue: Command) -> None:
    some_of_each(pgqueue)
    pgqueue.sql(RUN, 4)
    done = pgqueue("jobs", "move", "--to", "b", "--all", "--yes")
    assert done.stdout == "2 jobs moved\n"
    assert "left alone: 1 that are running" in done.stderr
    assert "left alone: 3 that are dead" in done.stderr
    assert pgqueue.json("jobs", "move", "--to", "b", "--all", "--yes")["unchanged"] == 2


def test_a_running_job_is_refused_and_the_exit_code_says_so(pgqueue: Command) -> None:
    fill(pgqueue, 1)
    pgqueue.sql(RUN, 1)
    for words in VERBS[1:5]:
        assert "1 that are running" in pgqueue(*words, 1, "--yes", exits=1).stderr
    told = pgqueue.json("jobs", "move", "--to", "b", 1, 4711, "--yes", exits=1)
    assert told["refused"] == {"running": 1}
    ((state, queue, asked),) = pgqueue.sql(
        "SELECT state, queue, cancel_requested_at FROM pgqueue.jobs"
    )
    assert (state, queue, asked) == ("running", "default", None)


def test_cancel_by_a_filter_asks_no_running_job_to_stop_and_by_id_it_does(
    pgqueue: Command,
) -> None:
    fill(pgqueue, 2)
    pgqueue.sql(RUN, 1)
    pgqueue("jobs", "cancel", "--task", "send", "--yes", "--reason", "r")
    assert pgqueue.sql("SELECT id, cancel_requested_at FROM pgqueue.jobs") == [(1, None)]
    assert "its worker was told" in pgqueue("jobs", "cancel", 1).stdout


def test_every_filter_of_the_command_line_reaches_the_database(pgqueue: Command) -> None:
    pgqueue.sql("SELECT pgqueue.enqueue('a', queue => 'q', priority => 5, actor => 'ada',"
                " metadata => '{\"tenant\": 1}', delay => '1 hour')")  # fmt: skip
    fill(pgqueue, 1, "other")
    for words in (
        ("-q", "q"),
        ("--task", "a"),
        ("--job-actor", "ada"),
        ("--priority", 5),
        ("--metadata", '{"tenant": 1}'),
        ("--run-before", "in 2h", "--task", "a"),
        ("--run-after", "in 30min", "--task", "a", "--state", "scheduled"),
        (1,),
    ):
        assert pgqueue.json("jobs", "run-now", *words, "--dry-run")["would_touch"] == 1, words
    for words in (("--older-than", "1h"), ("--run-before", "2030-01-01T00:00:00Z", "-q", "x")):
        assert pgqueue.json("jobs", "run-now", *words, "--dry-run")["would_touch"] == 0, words
    pgqueue.sql(DIE + " WHERE id = 1")
    for words in (
        ("--fingerprint", "f1"),
        ("--error-type", "ValueError"),
        ("--died-of", "attempts_exhausted"),
        ("--died-after", "1h"),
        ("--died-before", "in 1h"),
    ):
        assert pgqueue.json("dead", "redrive", *words, "--dry-run")["would_touch"] == 1, words
    for words in (("--fingerprint", "f2"), ("--died-before", "1h"), ("--died-of", "timeout")):
        assert pgqueue.json("dead", "redrive", *words, "--dry-run")["would_touch"] == 0, words


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("jobs", "reschedule", "1"), "either --at or --in"),
        (("jobs", "reschedule", "1", "--in", "1h", "--at", "2030-01-01T00:00:00Z"), "either"),
        (("jobs", "reschedule", "1", "--in", "99999999d"), "year 9999"),
        (("jobs", "move", "1"), "--to"),
        (("jobs", "move", "--to", "b", "--older-than", "soon", "--all"), "no time"),
        (("jobs", "cancel", "--all", "--rate", "fast"), "is no rate"),
        (("jobs", "cancel", "--all", "--rate", "0/s"), "must be between"),
        (("dead", "discard", "--all"), "--reason"),
    ],
)
def test_what_cannot_be_meant_is_wrong_usage(
    pgqueue: Command, words: tuple[str, ...], said: str
) -> None:
    assert said in pgqueue(*words, exits=2).stderr


def test_behind_a_transaction_pooler_each_step_commits_by_itself(
    pgqueue: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "is_pooled", lambda connection: True)
    fill(pgqueue, 3)
    assert pgqueue.json("jobs", "cancel", "--all", "--yes")["done"] == 3


# Stopped in the middle


def start(dsn: str, *words: str, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen([*MAIN, *words], env=environment(dsn), text=True, **options)


@pytest.mark.parametrize(
    ("words", "verb"),
    [
        (("jobs", "cancel", "--task", "send"), "cancel"),
        (("jobs", "move", "--to", "b", "--task", "send"), "move"),
        (("jobs", "reschedule", "--in", "2h", "--all"), "reschedule"),
        (("dead", "redrive", "--task", "send"), "retry"),
    ],
    ids=["cancel", "move", "reschedule", "redrive"],
)
def test_killed_in_the_middle_the_same_command_goes_on_and_touches_each_job_once(
    pgqueue: Command, words: tuple[str, ...], verb: str
) -> None:
    fill(pgqueue, 400)
    if verb == "retry":
        pgqueue.sql(DIE)
    with start(pgqueue.dsn, *words, "--yes", "--rate", "150/s", stderr=subprocess.PIPE) as run:
        try:
            eventually(lambda: len(touched(pgqueue, verb)) >= 30, within=60)
        finally:
            run.kill()
        assert run.stderr is not None
        said = run.stderr.read()
    told_to = re.search(r"the same command goes on, with (--up-to 400 --as-of \S+)$", said, re.M)
    assert told_to, said
    before = len(touched(pgqueue, verb))
    assert 30 <= before < 400
    fill(pgqueue, 2)
    told = pgqueue.json(*words, "--yes", *told_to[1].split())
    assert told["done"] == 400 - before
    assert sorted(touched(pgqueue, verb)) == list(range(1, 401)), "each once, and no new one"


def test_interrupted_it_says_how_far_it_came(pgqueue: Command) -> None:
    fill(pgqueue, 400)
    words = ("jobs", "cancel", "--all", "--yes", "--rate", "100/s")
    with start(pgqueue.dsn, *words, stderr=subprocess.PIPE) as run:
        eventually(lambda: touched(pgqueue, "cancel"), within=60)
        run.send_signal(signal.SIGINT)
        _, said = run.communicate(timeout=60)
    assert run.returncode == 130
    assert f"interrupted: {len(touched(pgqueue, 'cancel'))} jobs cancelled" in said
    assert "Traceback" not in said


def test_a_terminal_is_shown_a_bar(pgqueue: Command) -> None:
    fill(pgqueue, 20)
    ours, theirs = pty.openpty()
    words = ("jobs", "cancel", "--all", "--yes")
    with start(pgqueue.dsn, *words, stderr=theirs, stdout=subprocess.DEVNULL):
        os.close(theirs)
        sent = b""
        while chunk := _read(ours):
            sent += chunk
    os.close(ours)
    assert b"cancelled" in sent
    assert b"100%" in sent


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux's end of file
        return b""


# No faster than told


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def read(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


@pytest.mark.parametrize("rate", [0.5, 3.0, 10.0, 77.0, 100_000.0])
def test_a_pace_is_never_ahead_by_more_than_a_step(rate: float) -> None:
    clock = Clock()
    pace = Pace(rate, 500, clock=clock.read, sleep=clock.sleep)
    done, total = 0, int(rate * 20) + 10
    while done < total:
        step = pace.next_step(done)
        assert 1 <= step <= min(500, rate / 4 + 1)
        done += step
        assert done <= rate * (clock.now - 100) + step + 1e-6
    assert clock.now - 100 == pytest.approx(total / rate, abs=2 * max(1, 1 / rate))


def test_without_a_rate_there_is_no_waiting() -> None:
    clock = Clock()
    assert Pace(None, 500, clock=clock.read, sleep=clock.sleep).next_step(10**9) == 500
    assert clock.now == 100


def test_a_rate_is_kept(pgqueue: Command) -> None:
    fill(pgqueue, 16)
    begun = time.monotonic()
    told = pgqueue.json("jobs", "cancel", "--all", "--yes", "--rate", "16/s")
    assert told["done"] == 16
    assert time.monotonic() - begun >= 12 / 16
    ((first, last),) = pgqueue.sql(
        "SELECT min(at), max(at) FROM pgqueue.audit WHERE verb = 'cancel'"
    )
    assert (last - first).total_seconds() >= 0.7


def test_a_job_that_stays_locked_is_said_and_exits_with_1(pgqueue: Command) -> None:
    fill(pgqueue, 2)
    with psycopg.connect(pgqueue.dsn) as other:
        other.execute("SELECT FROM pgqueue.jobs WHERE id = 1 FOR NO KEY UPDATE")
        result = pgqueue("jobs", "cancel", "--all", "--yes", "--json", exits=1)
    told = json.loads(result.stdout)
    assert (told["done"], told["busy"]) == (1, 1)
