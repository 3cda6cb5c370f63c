"""``pgqueue jobs``: finding jobs, looking at one, and what people do to them."""

import os
import pwd

import psycopg
import pytest

from tests.command import Command

DIE = """
UPDATE pgqueue.jobs SET state = 'dead', died_at = clock_timestamp(), reason = 'attempts_exhausted',
    failures = 5, error_type = 'ValueError', error = 'no such user'
WHERE id = %s
"""
RUN = """
UPDATE pgqueue.jobs SET state = 'running', attempt = attempt + 1, claimed_at = now(),
    worker_id = gen_random_uuid(), lease_until = now() + interval '1 minute'
WHERE id = %s
"""


@pytest.fixture
def pgqueue(dsn: str) -> Command:
    return Command(dsn)


def test_pages_of_jobs_join_without_gap_or_overlap(pgqueue: Command) -> None:
    ids = [int(pgqueue("enqueue", "send").stdout) for _ in range(7)]
    first = pgqueue.json("jobs", "list", "--limit", 3)
    second = pgqueue.json("jobs", "list", "--limit", 4, "--before", first["next"])
    assert [job["id"] for job in first["jobs"] + second["jobs"]] == ids[::-1]
    assert pgqueue.json("jobs", "list", "--before", second["next"]) == {"jobs": [], "next": None}


def test_a_list_says_how_to_go_on_in_a_line_to_paste(pgqueue: Command) -> None:
    ids = [pgqueue("enqueue", "it's").stdout for _ in range(3)]
    listed = pgqueue("jobs", "list", "--ids", "--task", "it's", "--limit", 1)
    assert listed.stdout == ids[2]
    more = "pgqueue jobs list --ids --task 'it'\"'\"'s' --limit 1 --before"
    assert listed.stderr == f"more: {more} {ids[2]}"


def test_jobs_are_listed_by_state_queue_and_task(pgqueue: Command) -> None:
    wanted = int(pgqueue("enqueue", "send", "-q", "email", "--delay", "1h").stdout)
    pgqueue("enqueue", "send", "-q", "email")
    pgqueue("enqueue", "send", "--delay", "1h")
    pgqueue("enqueue", "other", "-q", "email", "--delay", "1h")
    chosen = pgqueue.json("jobs", "list", "--state", "scheduled", "-q", "email", "--task", "send")
    assert [job["id"] for job in chosen["jobs"]] == [wanted]


def test_a_job_is_shown_with_its_arguments_errors_attempts_and_audit(pgqueue: Command) -> None:
    job_id = int(pgqueue("enqueue", "send", "--args", '{"user_id": 7}').stdout)
    pgqueue.sql(DIE, job_id)
    pgqueue.sql(
        "INSERT INTO pgqueue.attempts SELECT %s, 1, now() - interval '3 s', now(),"
        " pgqueue.attempt_expiry(), NULL, 'failed', 'default', 'send', 'ValueError',"
        " 'no such user', 'Traceback: line 1\n  line 2'",
        job_id,
    )
    pgqueue(
        "jobs", "edit", job_id, "--args", '{"user_id": 8}', "--actor", "ann", "--reason", "typo"
    )
    said = pgqueue("jobs", "show", job_id).stdout
    for part in ("dead (attempts_exhausted)", '{"user_id":8}', "ValueError: no such user"):
        assert part in said
    assert "failed   now     3 s" in said
    assert "  Traceback: line 1\n    line 2\n" in said
    assert "ann  edit  typo" in said
    shown = pgqueue.json("jobs", "show", job_id)
    assert shown["args"] == {"user_id": 8}
    assert shown["attempts"][0]["outcome"] == "failed"
    assert shown["audit"][0]["actor"] == "ann"


def test_a_job_is_shown_with_what_it_said_of_itself(pgqueue: Command) -> None:
    job_id = int(pgqueue("enqueue", "import").stdout)
    pgqueue.sql(RUN, job_id)
    pgqueue.sql(
        "INSERT INTO pgqueue.progress VALUES (%s, 1, now(), 4200, 10000, '{\"stage\": 1}', '[42]')",
        job_id,
    )
    for n in (1, 2, 2):  # a line can be there twice
        pgqueue.sql(
            "INSERT INTO pgqueue.job_logs VALUES (%s, 1, %s, now(), pgqueue.attempt_expiry(),"
            " 'WARNING', 'slow', '{\"ms\": 7}')",
            job_id,
            n,
        )
    said = pgqueue("jobs", "show", job_id).stdout
    assert 'progress     4,200 of 10,000, 42 %, {"stage": 1} (now)' in said
    assert "checkpoint   [42]" in said
    assert said.count('WARNING  slow  {"ms": 7}') == 2
    shown = pgqueue.json("jobs", "show", job_id)
    assert shown["progress"]["percent"] == 42
    assert shown["progress"]["checkpoint"] == [42]
    assert [(line["n"], line["fields"]) for line in shown["lines"]] == [
        (1, {"ms": 7}),
        (2, {"ms": 7}),
    ]


def test_the_dead_letter_remembers_attempts_whose_history_is_over(pgqueue: Command) -> None:
    job_id = int(pgqueue("enqueue", "send").stdout)
    pgqueue.sql(DIE, job_id)
    pgqueue.sql(
        "UPDATE pgqueue.jobs SET history = json_build_array(json_build_object('attempt', 4,"
        " 'outcome', 'failed', 'ended_at', now(), 'error_type', 'ValueError', 'error', 'gone',"
        " 'traceback', NULL))"
    )
    assert "ValueError: gone" in pgqueue("jobs", "show", job_id).stdout


def test_what_a_job_holds_cannot_steer_the_terminal(pgqueue: Command) -> None:
    job_id = pgqueue("enqueue", "red\x1b[31m", "-q", "\x9b2J").stdout.strip()
    pgqueue.sql(DIE, job_id)
    pgqueue.sql("UPDATE pgqueue.jobs SET error = E'one\ntwo \x1b]0;title\x07'")
    for words in (
        ("jobs", "list"),
        ("jobs", "show", job_id),
        ("status",),
        ("jobs", "list", "--json"),
    ):
        said = pgqueue(*words).stdout
        assert not {"\x1b", "\x07", "\x9b"} & set(said)


def test_moments_that_python_cannot_hold_do_not_break_a_list(pgqueue: Command) -> None:
    pgqueue.sql("SELECT pgqueue.enqueue('a', run_at => 'infinity', expires_at => 'infinity')")
    for words in (("jobs", "list"), ("jobs", "show", 1), ("status",)):
        pgqueue(*words)


def test_a_dead_job_is_retried_with_other_arguments(pgqueue: Command) -> None:
    job_id = int(pgqueue("enqueue", "send").stdout)
    pgqueue.sql(DIE, job_id)
    pgqueue("jobs", "retry", job_id, "--args", '{"user_id": 8}', "--actor", "ann")
    assert pgqueue.sql("SELECT state, failures, args FROM pgqueue.jobs") == [
        ("available", 0, {"user_id": 8})
    ]
    assert pgqueue.sql("SELECT verb, actor, job_id FROM pgqueue.audit WHERE verb = 'retry'") == [
        ("retry", "ann", job_id)
    ]


def test_a_refusal_names_its_job_and_leaves_the_others_done(pgqueue: Command) -> None:
    dead, waiting = (int(pgqueue("enqueue", "send").stdout) for _ in range(2))
    pgqueue.sql(DIE, dead)
    done = pgqueue("jobs", "discard", waiting, dead, 99, "--reason", "old", exits=1)
    assert done.stdout == f"job {dead}: discarded\n"
    assert f"job {waiting}: not discarded: it waits for a worker already" in done.stderr
    assert "job 99: not discarded: there is no such job" in done.stderr


def test_a_waiting_job_is_cancelled_and_a_running_one_asked_to_stop(pgqueue: Command) -> None:
    waiting, running = (int(pgqueue("enqueue", "send").stdout) for _ in range(2))
    pgqueue.sql(RUN, running)
    assert pgqueue.json("jobs", "cancel", waiting, running) == {
        "jobs": [
            {"id": waiting, "ok": True, "answer": "cancelled"},
            {"id": running, "ok": True, "answer": "requested"},
        ]
    }


@pytest.mark.parametrize("words", [("cancel",), ("retry",), ("discard", "--reason", "x")])
def test_a_job_whose_row_is_locked_is_busy_and_not_waited_for(
    pgqueue: Command, words: tuple[str, ...]
) -> None:
    job_id = int(pgqueue("enqueue", "send").stdout)
    if words[0] != "cancel":
        pgqueue.sql(DIE, job_id)
    with psycopg.connect(pgqueue.dsn) as other:
        other.execute("SELECT FROM pgqueue.jobs FOR NO KEY UPDATE")
        said = pgqueue("jobs", *words, job_id, exits=1).stderr
    assert "its row is being written right now; try again" in said


def test_other_arguments_are_for_one_job_only(pgqueue: Command) -> None:
    assert "is for one job" in pgqueue("jobs", "retry", 1, 2, "--args", "{}", exits=2).stderr


def test_verbs_are_audited_under_the_name_of_the_user(pgqueue: Command) -> None:
    job_id = pgqueue("enqueue", "send").stdout.strip()
    pgqueue("jobs", "cancel", job_id)
    [(actor,)] = pgqueue.sql("SELECT actor FROM pgqueue.audit WHERE verb = 'cancel'")
    assert actor == pwd.getpwuid(os.getuid()).pw_name
