"""The views say what is there, document themselves, and tell one job's story."""

from datetime import timedelta
from typing import Any

import psycopg
import pytest

import pgqueue
from pgqueue import NewJob
from pgqueue.job import Job, Reason
from pgqueue.outcome import Died, Failure, Retried, Succeeded
from pgqueue.storage import finishing
from pgqueue.storage.drivers import run
from pgqueue.worker.clock import boottime
from tests.rows import OTHER_WORKER, WORKER, add, claim, claim_one, claim_suspects, crash, lapse

pytestmark = pytest.mark.smoke

Connection = psycopg.Connection[Any]

FAILURE = Failure("ValueError", "no such user 17", "Traceback", "ValueError at app.py:send: no")


def rows(connection: Connection, query: str, *params: Any) -> list[tuple[Any, ...]]:
    return connection.execute(query, params or None).fetchall()


def be_alive(
    connection: Connection, worker_id: str = WORKER, *, slots: int = 5, tasks: str = "{work}"
) -> None:
    connection.execute(
        "INSERT INTO pgqueue.workers VALUES (%s, now(), now(), 7, 'web-1', '1',"
        " json_build_object('default', %s::int), %s)",
        [worker_id, slots, tasks],
    )


def fail(connection: Connection, job: Job, *, dead: bool = False, delay: float = 60) -> None:
    now = boottime()
    outcome = (
        Died(job, now, now, FAILURE, Reason.ATTEMPTS_EXHAUSTED)
        if dead
        else Retried(job, now, now, FAILURE, delay)
    )
    run(connection, finishing.finish([outcome], worker_id=WORKER, moment=now))


def why(connection: Connection, job_id: int) -> dict[str, str]:
    return dict(rows(connection, "SELECT * FROM pgqueue.why_not_running(%s)", job_id))


def test_every_view_and_every_question_documents_itself(connection: Connection) -> None:
    undocumented = rows(
        connection,
        "SELECT viewname FROM pg_views WHERE schemaname = 'pgqueue'"
        " AND viewname <> 'expired_partitions'"
        " AND obj_description(format('pgqueue.%I', viewname)::regclass, 'pg_class') IS NULL",
    )
    assert undocumented == []
    for function in ("why_not_running(bigint)", "job_story(bigint)"):
        told = rows(
            connection, "SELECT obj_description(%s::regprocedure, 'pg_proc')", f"pgqueue.{function}"
        )
        assert told[0][0]


def test_a_queue_is_counted_by_state_retries_apart(connection: Connection) -> None:
    be_alive(connection)
    for delay in (None, None, None, None, None, 60, 60):
        add(connection, delay=delay)
    first, second, third = claim(connection, limit=3)
    fail(connection, first)
    fail(connection, second, dead=True)
    connection.execute(
        "UPDATE pgqueue.jobs SET crashes = 1"
        " WHERE id = (SELECT max(id) FROM pgqueue.jobs WHERE state = 'available')"
    )
    found = rows(
        connection,
        "SELECT available, running, scheduled, retrying, dead, at_least, workers, slots"
        " FROM pgqueue.queue_stats",
    )
    assert found == [(2, 1, 2, 1, 1, [], 1, 5)]
    assert third.id in [row[0] for row in rows(connection, "SELECT id FROM pgqueue.running_jobs")]


def test_a_count_that_stopped_says_so(connection: Connection) -> None:
    connection.execute(
        "SELECT pgqueue.enqueue_many(array_agg('work'::text), array_agg('{}'::text))"
        " FROM generate_series(1, 10001)"
    )
    found = rows(connection, "SELECT available, at_least FROM pgqueue.queue_stats")
    assert found == [(10_000, ["available"])]


def test_what_runs_says_where_how_far_and_until_when(connection: Connection) -> None:
    be_alive(connection)
    add(connection)
    job = claim_one(connection)
    connection.execute(
        "INSERT INTO pgqueue.progress (job_id, attempt, updated_at, done, total, detail)"
        " VALUES (%s, 1, now(), 30, 120, '\"rows\"')",
        [job.id],
    )
    found = rows(
        connection,
        "SELECT id, host, pid, run, percent, detail, lease_left > '25 s' FROM pgqueue.running_jobs",
    )
    assert found == [(job.id, "web-1", 7, 1, 25, "rows", True)]
    assert rows(connection, "SELECT holds, alive, slots FROM pgqueue.worker_stats") == [
        (1, True, 5)
    ]


def test_the_dead_are_grouped_by_what_they_died_of(connection: Connection) -> None:
    for task in ("work", "work", "greet"):
        add(connection, task=task)
    add(connection, expires=1)
    for job in claim(connection, limit=3):
        fail(connection, job, dead=True)
    connection.execute(
        "UPDATE pgqueue.jobs SET state = 'dead', reason = 'expired', died_at = now(),"
        " error_type = 'Expired' WHERE state = 'available'"
    )
    found = rows(
        connection,
        "SELECT error_type, jobs, tasks, reasons, sample, cardinality(newest_ids), at_least"
        " FROM pgqueue.dead_groups ORDER BY jobs DESC",
    )
    assert found == [
        ("ValueError", 3, ["greet", "work"], ["attempts_exhausted"], "no such user 17", 3, False),
        ("Expired", 1, ["work"], ["expired"], None, 1, False),
    ]


def test_retries_show_their_last_error(connection: Connection) -> None:
    add(connection, max_attempts=3)
    fail(connection, claim_one(connection), delay=3600)
    found = rows(
        connection,
        "SELECT failures, max_attempts, outcome, error, next_in > '59 min' FROM pgqueue.retries",
    )
    assert found == [(1, 3, "failed", "no such user 17", True)]


def test_a_batch_is_as_far_as_its_outcomes_folded_or_not(connection: Connection) -> None:
    pgqueue.enqueue_batch(connection, [NewJob("work") for _ in range(4)], name="four")
    now = boottime()
    (job,) = claim(connection, limit=1)
    run(
        connection,
        finishing.finish([Succeeded(job, now, now, None)], worker_id=WORKER, moment=now),
    )
    look = "SELECT name, pending, succeeded, percent FROM pgqueue.batch_stats"
    before = rows(connection, look)
    connection.execute("SELECT pgqueue.close_batches(0, 10)")
    assert before == rows(connection, look) == [("four", 3, 1, 25)]


def test_the_audit_says_what_the_job_is_now(connection: Connection) -> None:
    job = add(connection)
    connection.execute("SELECT pgqueue.cancel(%s, 'ann', 'twice')", [job])
    connection.execute("SELECT pgqueue.pause('email', 'bob')")
    found = rows(
        connection,
        "SELECT actor, verb, queue, task, state_now, reason FROM pgqueue.audit_log LIMIT 2",
    )
    assert found == [
        ("bob", "pause", "email", None, None, None),
        ("ann", "cancel", "default", "work", "cancelled", "twice"),
    ]


def test_why_a_job_waits_names_everything_that_stands_in_its_way(connection: Connection) -> None:
    first = add(connection)
    job = add(connection)
    assert list(why(connection, job)) == ["no worker", "behind"]
    assert why(connection, job)["behind"].startswith("1 jobs of the queue come before it")
    assert list(why(connection, first)) == ["no worker"]

    be_alive(connection, tasks="{other}")
    assert "knows task 'work'" in why(connection, first)["unknown task"]
    be_alive(connection, OTHER_WORKER, slots=1)
    assert list(why(connection, first)) == ["next"]
    claim_one(connection)
    assert list(why(connection, job)) == ["busy"]
    assert why(connection, job)["busy"].startswith("1 jobs of the queue are in hand for 1 slots")

    connection.execute("SELECT pgqueue.pause('default', 'ann', 'mail is down')")
    assert "by ann: mail is down" in why(connection, job)["paused"]
    assert "SELECT pgqueue.resume('default')" in why(connection, job)["paused"]
    connection.execute(
        "UPDATE pgqueue.jobs SET crashes = 2, expires_at = now() WHERE id = %s", [job]
    )
    assert list(why(connection, job)) == ["expired", "paused", "suspect", "busy"]


def test_why_a_job_that_is_locked_waits_without_locking_it(dsn: str) -> None:
    with (
        psycopg.connect(dsn, application_name="somebody") as holder,
        psycopg.connect(dsn, autocommit=True) as connection,
    ):
        job = add(connection)
        be_alive(connection)
        assert list(why(connection, job)) == ["next"]
        holder.execute("SELECT FROM pgqueue.jobs WHERE id = %s FOR NO KEY UPDATE", [job])
        assert "(somebody, in a transaction for" in why(connection, job)["locked"]
        with psycopg.connect(dsn) as asking:
            holder.rollback()
            why(asking, job)
            assert claim_one(connection).id == job


def test_why_of_every_other_state(connection: Connection) -> None:
    later = add(connection, delay=250)
    assert "due in 4 min" in why(connection, later)["scheduled"]
    connection.execute("UPDATE pgqueue.jobs SET run_at = 'infinity'")
    assert "no time at all" in why(connection, later)["scheduled"]
    connection.execute("UPDATE pgqueue.jobs SET run_at = now()")
    assert list(why(connection, later)) == ["scheduled", "no worker"]
    connection.execute("SELECT pgqueue.retry(%s)", [later])

    job = claim_one(connection)
    assert "by a worker that is gone" in why(connection, job.id)["running"]
    be_alive(connection)
    assert "by process 7 on web-1" in why(connection, job.id)["running"]
    connection.execute("SELECT pgqueue.cancel(%s)", [job.id])
    assert list(why(connection, job.id)) == ["running", "cancelling"]
    lapse(connection)
    assert "its lease ran out" in why(connection, job.id)["lost"]
    fail(connection, job)
    assert "it is over: cancelled" in why(connection, job.id)["finished"]

    add(connection)
    job = claim_one(connection)
    fail(connection, job, dead=True)
    assert "(attempts_exhausted): ValueError: no such user 17" in why(connection, job.id)["dead"]
    connection.execute("SELECT pgqueue.discard(%s)", [job.id])
    assert "it is over: discarded" in why(connection, job.id)["finished"]
    assert list(why(connection, job.id + 1000)) == ["unknown"]


def test_a_story_has_all_that_happened_in_its_order(connection: Connection) -> None:
    job_id = add(connection, actor="17", key="one", max_attempts=2)
    fail(connection, claim_one(connection), delay=0)
    crash(connection)
    fail(connection, _suspect(connection), dead=True)
    connection.execute("SELECT pgqueue.retry(%s, actor => 'ann', reason => 'mended')", [job_id])
    job = claim_one(connection)
    now = boottime()
    run(
        connection,
        finishing.finish([Succeeded(job, now, now, None)], worker_id=WORKER, moment=now),
    )
    story = rows(connection, "SELECT at, event, attempt, actor FROM pgqueue.job_story(%s)", job_id)
    assert [event for _, event, _, _ in story if event not in ("started",)] == [
        *("enqueued", "failed", "lost", "failed", "retry", "succeeded")
    ]
    assert [attempt for _, event, attempt, _ in story if event == "started"] == [1, 2, 3, 4]
    assert story[0][3] == "17"
    assert [at for at, *_ in story] == sorted(at for at, *_ in story)


def _suspect(connection: Connection) -> Job:
    (job,) = claim_suspects(connection)
    return job


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (119, "119 s"), (120, "2 min"), (250, "4 min 10 s"), (7260, "2 h 1 min"),
     (200_000, "2 d 7 h"), (-5, "0 s")],
)  # fmt: skip
def test_lengths_of_time_are_words(connection: Connection, seconds: int, words: str) -> None:
    assert rows(connection, "SELECT pgqueue.in_words(%s)", timedelta(seconds=seconds)) == [(words,)]
