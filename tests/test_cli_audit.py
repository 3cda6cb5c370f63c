"""Questions that a person asks: who did what, why does it not run, what happened, when to alert."""

import pytest

from tests.command import Command


@pytest.fixture
def pgqueue(dsn: str) -> Command:
    return Command(dsn)


def add(pgqueue: Command, actor: str) -> int:
    return int(pgqueue("enqueue", "send", "--actor", actor, "--delay", "1h").stdout)


def events(pgqueue: Command, *words: object) -> list[tuple[object, ...]]:
    found = pgqueue.json("audit", *words)["events"]
    return [(event["action"], event["job_id"], event["done_by"]) for event in found]


def test_what_an_actor_caused_within_a_time_and_who_touched_it(pgqueue: Command) -> None:
    old, job = add(pgqueue, "123"), add(pgqueue, "123")
    add(pgqueue, "456")
    pgqueue.sql("UPDATE pgqueue.jobs SET created_at = '2026-01-15T12:00:00Z' WHERE id = %s", old)
    pgqueue("jobs", "reprioritise", 5, job, "--yes", "--actor", "ann", "--reason", "urgent")
    pgqueue("jobs", "cancel", job, "--actor", "bob")
    assert events(pgqueue, "--actor", "123", "--since", "1h") == [
        ("enqueue", job, None),
        ("reprioritise", job, "ann"),
        ("cancel", job, "bob"),
        ("cancelled", job, None),
    ]
    month = ("--since", "2026-01-01T00:00:00Z", "--until", "2026-02-01T00:00:00+00:00")
    assert events(pgqueue, "--actor", "123", *month) == [("enqueue", old, None)]
    assert events(pgqueue, "--actor", "123", "--until", "2h", "--by", "ann") == []
    assert events(pgqueue, "--actor", "123", "--by", "ann") == [("reprioritise", job, "ann")]
    assert events(pgqueue, "--job", old, "--actor", "456") == []
    assert len(events(pgqueue, "--job", job)) == 4
    said = pgqueue("audit", "--actor", "123").stdout
    assert "urgent" in said


def test_what_people_did_the_latest_first(pgqueue: Command) -> None:
    job = add(pgqueue, "123")
    pgqueue("queues", "pause", "email", "--actor", "ann", "--reason", "deploy")
    pgqueue("jobs", "cancel", job, "--actor", "bob")
    assert events(pgqueue, "--limit", 2) == [("cancel", job, "bob"), ("pause", None, "ann")]
    assert "may be more" in pgqueue("audit", "--limit", 2).stderr
    assert events(pgqueue, "--by", "ann") == [("pause", None, "ann")]
    assert events(pgqueue, "--by", "ann", "--until", "1h") == []
    assert pgqueue("audit", "--by", "nobody").stderr == "nothing is known\n"


def test_columns_that_would_be_empty_are_left_out(pgqueue: Command) -> None:
    pgqueue("queues", "pause", "email", "--actor", "ann")
    titles, *_ = pgqueue("audit").stdout.splitlines()
    assert titles.split() == ["WHEN", "ACTION", "QUEUE", "BY"]


def test_what_is_no_time_is_told_what_would_be(pgqueue: Command) -> None:
    said = pgqueue("audit", "--since", "yesterday", exits=2).stderr
    assert "'yesterday' is no time; write 2h, 'in 2h' or 2026-12-24T18:00Z" in said
    pgqueue("audit", "--since", "2026-12-24T18:00Z")


def test_an_alert_that_is_not_there_is_answered_with_those_that_are(pgqueue: Command) -> None:
    said = pgqueue("alerts", "set", "backlogg", "--threshold", 5, exits=1).stderr
    assert "there is no alert 'backlogg'" in said
    assert "There are: backlog, dead, delay," in said


def test_it_is_said_whose_connection_it_was(pgqueue: Command) -> None:
    job = add(pgqueue, "123")
    pgqueue("jobs", "cancel", job, "--actor", "somebody else")
    ((user,),) = pgqueue.sql("SELECT session_user")
    assert f"somebody else ({user})" in pgqueue("audit", "--by", "somebody else").stdout


def test_why_a_job_does_not_run(pgqueue: Command) -> None:
    job = add(pgqueue, "123")
    assert "it is due in" in pgqueue("jobs", "why", job).stdout
    reasons = pgqueue.json("jobs", "why", job)["reasons"]
    assert [reason["reason"] for reason in reasons] == ["scheduled"]
    assert pgqueue.json("jobs", "why", 99)["reasons"][0]["reason"] == "unknown"


def test_what_has_happened_to_a_job(pgqueue: Command) -> None:
    job = add(pgqueue, "123")
    pgqueue("jobs", "cancel", job, "--actor", "bob", "--reason", "twice")
    said = pgqueue("jobs", "story", job).stdout
    assert "enqueued" in said
    assert "bob" in said
    told = pgqueue.json("jobs", "story", job)["events"]
    assert [event["event"] for event in told] == ["enqueued", "cancel", "cancelled"]
    assert "99" in pgqueue("jobs", "story", 99, exits=1).stderr


def test_alerts_are_set_and_unset_for_one_queue(pgqueue: Command) -> None:
    words = ("--threshold", 50000, "--hold-for", "5min", "--actor", "ann", "--reason", "big")
    pgqueue("alerts", "set", "backlog", "-q", "import", *words)
    pgqueue("alerts", "set", "no_worker", "-q", "import", "--off")
    rules = {
        (rule["alert"], rule["queue"]): rule for rule in pgqueue.json("alerts", "rules")["rules"]
    }
    mine = rules["backlog", "import"]
    assert (mine["threshold"], mine["hold_for"], mine["severity"]) == (50000, 300, None)
    assert rules["no_worker", "import"]["enabled"] is False
    assert rules["backlog", ""]["threshold"] == 1000
    assert "50000" in pgqueue("alerts", "rules").stdout
    assert pgqueue.sql(
        "SELECT threshold::integer, hold_for::text FROM pgqueue.rule_for('backlog', 'import')"
    ) == [(50000, "00:05:00")]
    assert pgqueue.sql(
        "SELECT actor, queue, reason FROM pgqueue.audit WHERE verb = 'set_alert' AND actor = 'ann'"
    ) == [("ann", "import", "big")]

    pgqueue("alerts", "unset", "backlog", "-q", "import")
    assert pgqueue.sql("SELECT threshold::integer FROM pgqueue.rule_for('backlog', 'import')") == [
        (1000,)
    ]


def test_alerts_without_a_word_more_are_still_shown(pgqueue: Command) -> None:
    assert pgqueue("alerts").stdout == "all is well\n"
    pgqueue("alerts", "set", "backlog", "--threshold", 1, "--hold-for", "0s")
    pgqueue("enqueue", "send")
    firing = pgqueue.json("alerts", exits=2)["alerts"]
    assert [(alert["alert"], alert["threshold"]) for alert in firing] == [("backlog", 1)]


@pytest.mark.parametrize(
    ("words", "exits", "said"),
    [
        (("set", "boredom", "--threshold", "1"), 1, "there is no alert"),
        (("set", "backlog"), 2, "nothing to set"),
        (("set", "backlog", "--threshold", "-1"), 2, "not in the range"),
        (("set", "backlog", "--look-back", "1s"), 1, "look_back"),
        (("set", "schedule_late", "-q", "a", "--off"), 1, "queue"),
        (("unset", "backlog"), 2, "--queue"),
    ],
)
def test_an_alert_that_cannot_be_is_refused(
    pgqueue: Command, words: tuple[str, ...], exits: int, said: str
) -> None:
    refused = pgqueue("alerts", *words, exits=exits).stderr
    assert said in refused
    assert "Traceback" not in refused
