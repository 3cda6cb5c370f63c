"""What a worker and a person do to jobs: the fence, rescue, the crash budget, the dead letter, the
verbs. Mostly without a worker, in a transaction that is rolled back."""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import errors

from pgqueue.job import TRANSITIONS, Job, Reason, State
from pgqueue.options import NewJob
from pgqueue.outcome import (
    Cancelled,
    Crashed,
    Died,
    Failure,
    Outcome,
    Released,
    Retried,
    Snoozed,
    Succeeded,
)
from pgqueue.storage import claiming, enqueueing, inspection, jobs, upkeep, verbs
from pgqueue.storage.drivers import run
from pgqueue.storage.finishing import finish
from tests.postgres import eventually
from tests.rows import (
    LEASE,
    OTHER_WORKER,
    WORKER,
    add,
    attempt_rows,
    claim,
    claim_one,
    claim_suspects,
    crash,
    in_state,
    job_row,
    lapse,
)

Connection = psycopg.Connection[Any]

FAILURE = Failure("ValueError", "no good", "Traceback: line 1", "ValueError at x")

OUTCOMES: dict[str, Callable[[Job], Outcome]] = {
    "Succeeded": lambda job: Succeeded(job, 0, 1, '"fine"'),
    "Retried": lambda job: Retried(job, 0, 1, FAILURE, 5.0),
    "Died": lambda job: Died(job, 0, 1, FAILURE, Reason.NON_RETRYABLE),
    "Cancelled": lambda job: Cancelled(job, 0, 1, "because"),
    "Snoozed": lambda job: Snoozed(job, 0, 1, 60.0),
    "Released": lambda job: Released(job, 0, 1, "the worker stops"),
    "Crashed": lambda job: Crashed(job, 0, 1, "exit code -11"),
}
BECOMES = {
    "Succeeded": State.SUCCEEDED,
    "Retried": State.SCHEDULED,
    "Died": State.DEAD,
    "Cancelled": State.CANCELLED,
    "Snoozed": State.SCHEDULED,
    "Released": State.AVAILABLE,
    "Crashed": State.AVAILABLE,
}
every_outcome = pytest.mark.parametrize("outcome", OUTCOMES.values(), ids=list(OUTCOMES))


def write(connection: Connection, *outcomes: Outcome, worker_id: str = WORKER) -> set[int]:
    return run(connection, finish(outcomes, worker_id=worker_id, moment=2))


def fail(connection: Connection, job: Job, *, delay: float = 0) -> None:
    assert write(connection, Retried(job, 0, 1, FAILURE, delay)) == {job.id}


def bury(connection: Connection, **options: Any) -> int:
    """Enqueue a job and have it die; return its id."""
    job_id = add(connection, **options)
    job = next(job for job in claim(connection) if job.id == job_id)
    assert write(connection, Died(job, 0, 1, FAILURE, Reason.NON_RETRYABLE)) == {job_id}
    return job_id


def everything(connection: Connection) -> list[Any]:
    """All there is to know of jobs, to compare before with after."""
    return [
        connection.execute(f"SELECT * FROM pgqueue.{table} ORDER BY 1, 2").fetchall()  # noqa: S608  fixed names
        for table in ("jobs", "finished_jobs", "attempts")
    ]


@pytest.fixture
def two(dsn: str) -> Iterator[tuple[Connection, Connection]]:
    """Two committing connections: whoever holds a row, and whoever comes along."""
    with psycopg.connect(dsn) as holder, psycopg.connect(dsn, autocommit=True) as comer:
        comer.execute("SET lock_timeout = '10s'")
        yield holder, comer
        holder.rollback()


# Claim


def test_a_claim_counts_the_attempt_and_leases_the_job(connection: Connection) -> None:
    job_id = add(connection, actor="ada", metadata={"a": 1}, timeout=7, args='{"x": 1}')
    job = claim_one(connection)
    row = job_row(connection, job_id)

    assert (job.id, job.attempt, job.run, job.queue, job.task) == (job_id, 1, 1, "default", "work")
    assert (job.args, job.metadata, job.actor, job.timeout) == ('{"x": 1}', '{"a": 1}', "ada", 7.0)
    assert (row.state, row.attempt, str(row.worker_id)) == ("running", 1, WORKER)
    assert (
        LEASE - timedelta(seconds=1)
        < row.lease_until - row.claimed_at
        <= LEASE + timedelta(seconds=1)
    )


def test_acceptance_2_smaller_priorities_come_first_then_the_older(connection: Connection) -> None:
    ordinary = add(connection)
    later = add(connection)
    urgent = add(connection, priority=1)
    idle = add(connection, priority=32_767)
    overdue = add(connection, run_at=datetime(2001, 1, 1, tzinfo=UTC))

    assert [job.id for job in claim(connection)] == [urgent, overdue, ordinary, later, idle]


def test_a_claim_takes_no_more_than_each_queue_has_free(connection: Connection) -> None:
    for queue in ("mail", "reports", "other"):
        for _ in range(5):
            add(connection, queue=queue)
    limits = {"mail": 2, "reports": 4}
    claim = claiming.claim(worker_id=WORKER, limits=limits, tasks=["work"], lease=LEASE)
    claimed = run(connection, claim).jobs
    assert Counter(job.queue for job in claimed) == {"mail": 2, "reports": 4}


def test_a_claim_takes_no_more_than_the_bytes_there_is_room_for(connection: Connection) -> None:
    kib = f'{{"x": "{"x" * 1015}"}}'
    assert len(kib) == 1024
    for queue in ("large", "other"):
        for _ in range(5):
            add(connection, queue=queue, args=kib)

    def sizes(large: int) -> dict[str, int]:
        limits = {"large": 5, "other": 2}
        claim = claiming.claim(
            worker_id=WORKER,
            limits=limits,
            tasks=["work"],
            lease=LEASE,
            bytes_left={"large": large},
        )
        claimed = run(connection, claim).jobs
        write(connection, *[OUTCOMES["Released"](job) for job in claimed])
        assert claimed == sorted(claimed, key=lambda job: (job.priority, job.run_at, job.id))
        return Counter(job.queue for job in claimed)

    assert sizes(3 * 1024) == {"large": 3, "other": 2}
    assert sizes(3 * 1024 - 1) == {"large": 2, "other": 2}
    assert sizes(0) == {"large": 1, "other": 2}, "one, however large"
    assert sizes(2**40) == {"large": 5, "other": 2}


def test_acceptance_7_an_unknown_task_is_left_in_the_queue(connection: Connection) -> None:
    unknown, known = add(connection, task="new-in-the-next-release"), add(connection)
    assert [job.id for job in claim(connection)] == [known]
    assert job_row(connection, unknown).state == "available"


def test_two_workers_never_claim_one_job(two: tuple[Connection, Connection]) -> None:
    holder, comer = two
    ids = [add(comer) for _ in range(6)]
    mine = claim(holder, limit=4)
    comer.execute("SET lock_timeout = '1ms'")
    theirs = claim(comer, limit=4, worker_id=OTHER_WORKER)

    assert [job.id for job in mine] == ids[:4]
    assert [job.id for job in theirs] == ids[4:]


def test_a_job_that_must_not_start_any_more_is_passed_over(connection: Connection) -> None:
    add(connection, expires=datetime(2001, 1, 1, tzinfo=UTC))
    punctual = add(connection, expires=60)
    assert [job.id for job in claim(connection)] == [punctual]


def test_nothing_of_a_paused_queue_is_claimed(connection: Connection) -> None:
    paused, other = add(connection, queue="paused"), add(connection)
    run(connection, verbs.pause("paused"))
    assert [job.id for job in claim(connection, queues=["paused", "default"])] == [other]
    run(connection, verbs.resume("paused"))
    assert [job.id for job in claim(connection, queues=["paused", "default"])] == [paused]


# The fence


@pytest.mark.parametrize("kind", OUTCOMES)
def test_an_outcome_is_accepted_once(connection: Connection, kind: str) -> None:
    job_id = add(connection)
    outcome = OUTCOMES[kind](claim_one(connection))

    assert write(connection, outcome) == {job_id}
    row = job_row(connection, job_id)
    assert (row.state, row.attempt) == (BECOMES[kind], 1)
    before = everything(connection)
    assert write(connection, outcome) == set()
    assert everything(connection) == before


@every_outcome
def test_an_older_attempt_of_the_same_worker_is_refused(
    connection: Connection, outcome: Callable[[Job], Outcome]
) -> None:
    add(connection)
    lost = claim_one(connection)
    write(connection, Released(lost, 0, 1, "given back"))
    again = claim_one(connection)
    before = everything(connection)

    assert again.attempt == lost.attempt + 1
    assert write(connection, outcome(lost)) == set()
    assert everything(connection) == before
    assert write(connection, outcome(again)) == {again.id}


@every_outcome
def test_another_worker_is_refused_even_with_the_right_attempt(
    connection: Connection, outcome: Callable[[Job], Outcome]
) -> None:
    """A failover that loses a claim hands the same number out again."""
    add(connection)
    job = claim_one(connection)
    before = everything(connection)

    assert write(connection, outcome(job), worker_id=OTHER_WORKER) == set()
    assert everything(connection) == before


@every_outcome
def test_a_worker_is_refused_after_the_rescue(
    connection: Connection, outcome: Callable[[Job], Outcome]
) -> None:
    add(connection)
    job = claim_one(connection)
    lapse(connection)
    run(connection, jobs.rescue(limit=10))
    before = everything(connection)

    assert write(connection, outcome(job)) == set()
    assert everything(connection) == before


@every_outcome
def test_a_rescued_worker_cannot_overwrite_its_successor(
    connection: Connection, outcome: Callable[[Job], Outcome]
) -> None:
    add(connection)
    lost = claim_one(connection)
    lapse(connection)
    run(connection, jobs.rescue(limit=10))
    (again,) = claim_suspects(connection, worker_id=OTHER_WORKER)

    assert write(connection, outcome(lost)) == set()
    assert write(connection, outcome(again), worker_id=OTHER_WORKER) == {again.id}


@pytest.mark.parametrize("state", ["available", "scheduled", "dead"])
@every_outcome
def test_no_outcome_touches_a_job_that_does_not_run(
    connection: Connection, outcome: Callable[[Job], Outcome], state: str
) -> None:
    """Whatever attempt and worker may say."""
    add(connection)
    job = claim_one(connection)
    endings: dict[str, Outcome] = {
        "available": Released(job, 0, 1, "given back"),
        "scheduled": Retried(job, 0, 1, FAILURE, 60),
        "dead": Died(job, 0, 1, FAILURE, Reason.TIMEOUT),
    }
    write(connection, endings[state])
    connection.execute("UPDATE pgqueue.jobs SET worker_id = %s", [WORKER])
    before = everything(connection)

    assert write(connection, outcome(job)) == set()
    assert everything(connection) == before


def test_of_a_mixed_batch_only_what_is_lost_is_refused(connection: Connection) -> None:
    for _ in range(2 * len(OUTCOMES)):
        add(connection)
    claimed = claim(connection)
    stale = [job._replace(attempt=0) for job in claimed[1::2]]
    batch = [make(job) for make, job in zip(OUTCOMES.values(), claimed[::2], strict=True)]
    batch += [make(job) for make, job in zip(OUTCOMES.values(), stale, strict=True)]

    assert write(connection, *batch) == {job.id for job in claimed[::2]}
    assert in_state(connection, "running") == [job.id for job in claimed[1::2]]


def test_a_renewal_is_fenced_too(connection: Connection) -> None:
    for _ in range(4):
        add(connection)
    mine, rescued, finished, _ = claim(connection)
    connection.execute(
        "UPDATE pgqueue.jobs SET worker_id = %s WHERE id > %s", [OTHER_WORKER, finished.id]
    )
    connection.execute(
        "UPDATE pgqueue.jobs SET lease_until = now() - interval '1s' WHERE id = %s", [rescued.id]
    )
    run(connection, jobs.rescue(limit=10))
    write(connection, OUTCOMES["Succeeded"](finished))
    ids = range(mine.id, mine.id + 4)
    renewed = run(
        connection, jobs.renew(worker_id=WORKER, ids=list(ids), attempts=[1] * 4, lease=LEASE * 100)
    )

    assert [(held.id, held.attempt, held.cancel_requested) for held in renewed] == [
        (mine.id, 1, False)
    ]
    assert run(connection, jobs.find_held(worker_id=WORKER, ids=list(ids))) == [(mine.id, 1, False)]
    assert job_row(connection, mine.id).lease_until > datetime.now(UTC) + LEASE * 50


def test_a_lease_that_ran_out_but_was_not_taken_may_be_renewed(connection: Connection) -> None:
    job_id = add(connection)
    claim(connection)
    lapse(connection)
    assert run(connection, jobs.renew(worker_id=WORKER, ids=[job_id], attempts=[1], lease=LEASE))
    assert run(connection, jobs.rescue(limit=10)).total == 0


def test_a_renewal_never_waits_for_a_row(two: tuple[Connection, Connection]) -> None:
    holder, comer = two
    finishing, free = add(comer), add(comer)
    first, _ = claim(comer)
    write(holder, OUTCOMES["Succeeded"](first))
    comer.execute("SET lock_timeout = '1ms'")
    renewed = run(
        comer, jobs.renew(worker_id=WORKER, ids=[finishing, free], attempts=[1, 1], lease=LEASE)
    )

    assert [held.id for held in renewed] == [free]
    held = run(comer, jobs.find_held(worker_id=WORKER, ids=[finishing, free]))
    assert {(each.id, each.attempt) for each in held} == {(finishing, 1), (free, 1)}
    assert run(comer, jobs.find_unlocked([finishing, free])) == {free}


def test_the_lock_of_a_handlers_transaction_is_fenced(connection: Connection) -> None:
    add(connection)
    job = claim_one(connection)
    idle = timedelta(seconds=90)

    def lock(worker_id: str, job: Job) -> bool:
        return run(connection, jobs.lock_running(worker_id=worker_id, job=job, idle_limit=idle))

    assert not lock(OTHER_WORKER, job)
    assert not lock(WORKER, job._replace(attempt=2))
    assert lock(WORKER, job)
    row = connection.execute("SHOW idle_in_transaction_session_timeout").fetchone()
    assert row == ("90s",) or row == ("1min30s",)
    write(connection, OUTCOMES["Released"](job))
    assert not lock(WORKER, job)


def test_an_undecided_commit_is_looked_up_by_its_own_attempt(connection: Connection) -> None:
    add(connection)
    job = claim_one(connection)

    def state(worker_id: str, job: Job) -> str | None:
        return run(connection, jobs.find_finished(worker_id=worker_id, job=job))

    assert run(connection, jobs.lock_undecided(worker_id=WORKER, job=job))
    assert not run(connection, jobs.lock_undecided(worker_id=OTHER_WORKER, job=job))
    assert state(WORKER, job) is None
    write(connection, OUTCOMES["Succeeded"](job))
    assert not run(connection, jobs.lock_undecided(worker_id=WORKER, job=job))
    assert state(WORKER, job) == "succeeded"
    assert state(OTHER_WORKER, job) is None
    assert state(WORKER, job._replace(attempt=2)) is None


@every_outcome
def test_what_an_earlier_commit_wrote_is_found_again(
    connection: Connection, outcome: Callable[[Job], Outcome]
) -> None:
    add(connection)
    job = claim_one(connection)
    assert run(connection, jobs.find_written(worker_id=WORKER, held=[job])) == {}
    write(connection, outcome(job))
    found = run(connection, jobs.find_written(worker_id=WORKER, held=[job]))
    assert found.keys() == {job.id}
    assert run(connection, jobs.find_written(worker_id=OTHER_WORKER, held=[job])) == {}
    other = job._replace(attempt=job.attempt + 1)
    assert run(connection, jobs.find_written(worker_id=WORKER, held=[other])) == {}


def test_what_a_lost_answer_had_claimed_is_given_back(connection: Connection) -> None:
    for _ in range(3):
        add(connection)
    known, stray = claim(connection, limit=2)
    theirs = claim_one(connection, worker_id=OTHER_WORKER)

    assert run(connection, jobs.release_strays(worker_id=WORKER, held=[known])) == 1
    assert in_state(connection, "running") == [known.id, theirs.id]
    row = job_row(connection, stray.id)
    assert (row.state, row.failures, row.crashes, row.attempt) == ("available", 0, 0, 1)


def test_another_attempt_of_the_same_worker_is_a_stray_and_not_renewed(
    connection: Connection,
) -> None:
    """Lost and claimed again by a claim whose answer was lost: the older one is still in hand."""
    add(connection)
    older = claim_one(connection)
    write(connection, Released(older, 0, 1, "given back"))
    stray = claim_one(connection)
    assert stray.id == older.id

    ids, attempts = [older.id], [older.attempt]
    assert not run(
        connection, jobs.renew(worker_id=WORKER, ids=ids, attempts=attempts, lease=LEASE)
    )
    assert run(connection, jobs.release_strays(worker_id=WORKER, held=[stray])) == 0
    assert run(connection, jobs.release_strays(worker_id=WORKER, held=[older])) == 1


# Cancelled while it runs

NOT_DONE = [kind for kind in OUTCOMES if kind != "Succeeded"]


@pytest.mark.parametrize("kind", NOT_DONE)
def test_a_job_that_was_cancelled_while_it_ran_does_not_go_on(
    connection: Connection, kind: str
) -> None:
    job_id, other_id = add(connection), add(connection)
    cancelled, other = claim(connection)
    assert run(connection, verbs.cancel([job_id])) == [(job_id, True, "requested")]

    outcome = OUTCOMES[kind]
    assert write(connection, outcome(cancelled), outcome(other)) == {job_id, other_id}

    row = job_row(connection, job_id)
    assert (row.state, row.attempt, str(row.worker_id)) == ("cancelled", 1, WORKER)
    assert job_row(connection, other_id).state == BECOMES[kind]
    assert attempt_rows(connection, job_id) == []


def test_a_job_that_was_cancelled_too_late_has_succeeded(connection: Connection) -> None:
    job_id = add(connection)
    job = claim_one(connection)
    run(connection, verbs.cancel([job_id]))
    assert write(connection, OUTCOMES["Succeeded"](job)) == {job_id}
    assert job_row(connection, job_id).state == "succeeded"


@pytest.mark.parametrize(("kind", "said"), [("Retried", "no good"), ("Crashed", "exit code -11")])
def test_a_cancelled_job_keeps_what_its_last_attempt_said(
    connection: Connection, kind: str, said: str
) -> None:
    job_id = add(connection)
    job = claim_one(connection)
    run(connection, verbs.cancel([job_id]))
    write(connection, OUTCOMES[kind](job))
    assert "cancelled" in job_row(connection, job_id).error
    assert said in job_row(connection, job_id).error


@pytest.mark.parametrize("kind", NOT_DONE)
def test_a_cancelled_job_of_a_batch_is_counted_as_cancelled(
    connection: Connection, kind: str
) -> None:
    (enqueued,) = run(connection, enqueueing.enqueue([NewJob("work")], batch_id=7))
    job = claim_one(connection)
    run(connection, verbs.cancel([enqueued.id]))
    write(connection, OUTCOMES[kind](job))
    counted = connection.execute(
        "SELECT sum(succeeded), sum(failed), sum(cancelled) FROM pgqueue.batch_outcomes"
    ).fetchone()
    assert counted == (0, 0, 1)


@pytest.mark.parametrize("kind", NOT_DONE)
def test_a_cancellation_that_meets_the_finish_is_seen_by_one_of_its_statements(
    two: tuple[Connection, Connection], kind: str
) -> None:
    """It commits after the statement of the outcome's own kind has begun to wait for the row."""
    holder, comer = two
    job_id = add(comer)
    job = claim_one(comer)
    holder.execute("SELECT pgqueue.cancel(%s)", [job_id])
    with ThreadPoolExecutor() as threads:
        writing = threads.submit(write, comer, OUTCOMES[kind](job))
        with psycopg.connect(comer.info.dsn, autocommit=True) as watcher:
            eventually(
                lambda: watcher.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchone()
            )
        holder.commit()
        assert writing.result(30) == {job_id}
    assert job_row(comer, job_id).state == "cancelled"


def test_a_cancelled_job_whose_claim_was_never_answered_is_left_to_the_rescuer(
    connection: Connection,
) -> None:
    job_id = add(connection)
    claim_one(connection)
    run(connection, verbs.cancel([job_id]))
    assert run(connection, jobs.release_strays(worker_id=WORKER, held=[])) == 0
    lapse(connection)
    assert run(connection, jobs.rescue(limit=10)) == (0, 0, 1)
    assert job_row(connection, job_id).state == "cancelled"


# What a finish writes


def test_a_success_is_kept_in_history(connection: Connection) -> None:
    job_id = add(connection, key="k", actor="ada", args='{"x": 1}', metadata={"m": 1}, priority=3)
    run_at = job_row(connection, job_id).run_at
    job = claim_one(connection)
    run(connection, finish([Succeeded(job, 10, 13, '{"y": 2}')], worker_id=WORKER, moment=14))
    row = job_row(connection, job_id)

    assert in_state(connection, "succeeded") == [job_id]
    assert (row.result, row.args, row.metadata, row.key, row.actor, row.priority) == (
        {"y": 2},
        {"x": 1},
        {"m": 1},
        "k",
        "ada",
        3,
    )
    assert (row.attempt, str(row.worker_id), row.run_at) == (1, WORKER, run_at)
    assert (row.finished_at - row.started_at).total_seconds() == pytest.approx(3, abs=0.1)
    ago = connection.execute("SELECT clock_timestamp() - %s", [row.finished_at]).fetchone()
    assert ago
    assert ago[0].total_seconds() == pytest.approx(1, abs=0.5)
    assert attempt_rows(connection, job_id) == []


@pytest.mark.parametrize("kind", ["Succeeded", "Cancelled"])
def test_a_job_that_is_not_to_be_kept_leaves_nothing(connection: Connection, kind: str) -> None:
    job_id = add(connection, keep=0)
    assert write(connection, OUTCOMES[kind](claim_one(connection))) == {job_id}
    assert job_row(connection, job_id) is None


@pytest.mark.parametrize(("days", "exact"), [(1, True), (60, True), (61, False), (365, False)])
def test_history_is_kept_to_the_day_or_for_long_to_the_month(
    connection: Connection, days: int, exact: bool
) -> None:
    job_id = add(connection, keep=timedelta(days=days))
    write(connection, OUTCOMES["Succeeded"](claim_one(connection)))
    expires_on: date = job_row(connection, job_id).expires_on
    least = (datetime.now(UTC) + timedelta(days=days)).date()

    assert least <= expires_on <= least + timedelta(days=1 if exact else 32)
    assert exact or expires_on.day == 1


def test_a_failure_is_charged_and_recorded(connection: Connection) -> None:
    job_id = add(connection)
    job = claim_one(connection)
    write(connection, Retried(job, 0, 1, FAILURE, 2.5, timed_out=True))
    row = job_row(connection, job_id)
    (attempt,) = attempt_rows(connection, job_id)

    assert (row.state, row.failures, row.attempt) == ("scheduled", 1, 1)
    assert (row.lease_until, row.worker_id) == (None, None)
    wait = connection.execute("SELECT %s - clock_timestamp()", [row.run_at]).fetchone()
    assert wait
    assert wait[0].total_seconds() == pytest.approx(2.5, abs=0.3)
    assert (attempt.outcome, attempt.attempt, str(attempt.worker_id)) == ("timed_out", 1, WORKER)
    assert (attempt.error_type, attempt.error, attempt.traceback, attempt.fingerprint) == FAILURE


def test_a_retry_without_delay_is_available_at_once(connection: Connection) -> None:
    add(connection)
    fail(connection, claim_one(connection), delay=0)
    again = claim_one(connection)
    assert (again.run, again.failures, again.attempt) == (2, 1, 2)


@pytest.mark.parametrize("delay", [1e12, 1e300])
def test_a_backoff_beyond_all_reason_does_not_lose_the_outcome(
    connection: Connection, delay: float
) -> None:
    job_id = add(connection)
    fail(connection, claim_one(connection), delay=delay)
    assert job_row(connection, job_id).run_at > datetime.now(UTC) + timedelta(days=36_000)


def test_a_snooze_is_uncharged_and_as_often_as_wanted(connection: Connection) -> None:
    job_id = add(connection)
    for turn in range(1, 8):
        write(connection, Snoozed(claim_one(connection), 0, 1, 3600))
        row = job_row(connection, job_id)
        assert (row.state, row.failures, row.attempt) == ("scheduled", 0, turn)
        wait = connection.execute("SELECT %s - clock_timestamp()", [row.run_at]).fetchone()
        assert wait
        assert wait[0].total_seconds() == pytest.approx(3600, abs=1)
        connection.execute("UPDATE pgqueue.jobs SET run_at = now()")
        run(connection, jobs.stage(limit=1))
    assert {attempt.outcome for attempt in attempt_rows(connection, job_id)} == {"snoozed"}


def test_a_release_is_uncharged_and_keeps_place_and_crashes(connection: Connection) -> None:
    job_id = add(connection)
    before = job_row(connection, job_id)
    crash(connection)
    (job,) = claim_suspects(connection)
    write(connection, Released(job, 0, 1, "the worker stops"))
    row = job_row(connection, job_id)

    assert (row.state, row.failures, row.crashes, row.attempt) == ("available", 0, 1, 2)
    assert row.run_at == before.run_at
    assert [a.outcome for a in attempt_rows(connection, job_id)] == ["lost", "released"]
    assert claim(connection) == []
    assert [job.id for job in claim_suspects(connection)] == [job_id]


@pytest.mark.parametrize("kind", ["Retried", "Snoozed", "Died"])
def test_any_other_ending_resets_the_crashes(connection: Connection, kind: str) -> None:
    job_id = add(connection)
    crash(connection)
    (job,) = claim_suspects(connection)
    write(connection, OUTCOMES[kind](job))
    assert job_row(connection, job_id).crashes == 0


# Rescue and crashes


def test_a_rescue_takes_back_only_what_ran_out(connection: Connection) -> None:
    lost, held = add(connection), add(connection)
    claim(connection)
    connection.execute(
        "UPDATE pgqueue.jobs SET lease_until = now() - interval '1s' WHERE id = %s", [lost]
    )
    assert run(connection, jobs.rescue(limit=10)) == (1, 0, 0)
    assert (in_state(connection, "available"), in_state(connection, "running")) == ([lost], [held])
    row = job_row(connection, lost)
    assert (row.crashes, row.failures, row.attempt) == (1, 0, 1)
    assert (row.lease_until, row.worker_id) == (None, None)
    (attempt,) = attempt_rows(connection, lost)
    assert (attempt.outcome, attempt.attempt, str(attempt.worker_id)) == ("lost", 1, WORKER)
    assert attempt.started_at == row.claimed_at


def test_a_rescue_is_bounded(connection: Connection) -> None:
    for _ in range(5):
        add(connection)
    claim(connection)
    lapse(connection)
    assert [run(connection, jobs.rescue(limit=2)).total for _ in range(4)] == [2, 2, 1, 0]


@pytest.mark.parametrize("rescued_by", ["finish", "renewal"])
def test_a_rescue_passes_over_what_is_being_finished_or_renewed(
    two: tuple[Connection, Connection], rescued_by: str
) -> None:
    holder, comer = two
    add(comer)
    job = claim_one(comer)
    lapse(comer)
    if rescued_by == "finish":
        write(holder, OUTCOMES["Succeeded"](job))
    else:
        run(holder, jobs.renew(worker_id=WORKER, ids=[job.id], attempts=[job.attempt], lease=LEASE))
    comer.execute("SET lock_timeout = '1ms'")

    assert run(comer, jobs.rescue(limit=10)).total == 0
    holder.commit()
    assert run(comer, jobs.rescue(limit=10)).total == 0
    assert attempt_rows(comer, job.id) == []


def test_crashes_count_up_to_the_budget_and_then_it_is_dead(connection: Connection) -> None:
    job_id = add(connection, max_crashes=3)
    for crashes in (1, 2):
        crash(connection)
        row = job_row(connection, job_id)
        assert (row.state, row.crashes) == ("available", crashes)
    crash(connection)
    row = job_row(connection, job_id)
    assert (row.state, row.reason, row.crashes, row.failures) == ("dead", "crashed", 3, 0)
    assert row.error == "its worker vanished 3 times while it ran"
    assert row.died_at is not None
    assert [a.outcome for a in attempt_rows(connection, job_id)] == ["lost"] * 3


def test_a_crashed_child_is_charged_to_its_job_at_once(connection: Connection) -> None:
    job_id = add(connection, max_crashes=2)
    write(connection, Crashed(claim_one(connection), 0, 1, "exit code -11"))
    row = job_row(connection, job_id)
    assert (row.state, row.crashes, row.failures, row.reason) == ("available", 1, 0, None)
    (job,) = claim_suspects(connection)
    write(connection, Crashed(job, 0, 1, "exit code -11"))
    row = job_row(connection, job_id)
    assert (row.state, row.crashes, row.reason) == ("dead", 2, "crashed")
    assert (row.error_type, row.error) == ("Crashed", "exit code -11")
    assert [a.outcome for a in attempt_rows(connection, job_id)] == ["crashed", "crashed"]


def test_suspects_are_never_claimed_with_the_rest(connection: Connection) -> None:
    suspect = add(connection)
    crash(connection)
    innocent = add(connection)
    assert [job.id for job in claim(connection)] == [innocent]
    assert [job.id for job in claim_suspects(connection)] == [suspect]


def test_after_one_crash_a_few_run_together_after_two_each_alone(connection: Connection) -> None:
    for _ in range(12):
        add(connection)
    crash(connection)
    first = claim_suspects(connection, few=5)
    assert len(first) == 5
    assert {job.crashes for job in first} == {1}
    lapse(connection)
    run(connection, jobs.rescue(limit=100))

    for _ in range(5):
        (alone,) = claim_suspects(connection, few=12)
        assert alone.crashes == 2
        write(connection, OUTCOMES["Succeeded"](alone))
    assert [job.crashes for job in claim_suspects(connection, few=12)] == [1] * 7


def test_one_poison_job_condemns_none_of_its_neighbours(connection: Connection) -> None:
    """Whatever worker holds it dies with all it holds: it ends dead, alone."""
    ids = [add(connection) for _ in range(40)]
    poison = ids[17]
    for _ in range(60):
        held = claim(connection) or claim_suspects(connection)
        if not held:
            break
        if any(job.id == poison for job in held):
            lapse(connection)
            run(connection, jobs.rescue(limit=100))
        else:
            write(connection, *map(OUTCOMES["Succeeded"], held))

    assert in_state(connection, "dead") == [poison]
    assert in_state(connection, "succeeded") == [job_id for job_id in ids if job_id != poison]


def test_suspects_are_looked_for_where_they_could_run(connection: Connection) -> None:
    def found(queue: str = "default", task: str = "work") -> bool:
        return run(connection, claiming.find_suspects(queues=[queue], tasks=[task]))

    add(connection)
    assert not found()
    crash(connection)
    assert found()
    assert not found(queue="other")
    assert not found(task="other")
    run(connection, verbs.pause("default"))
    assert not found()
    assert claim_suspects(connection) == []


def test_a_cancelled_job_whose_worker_vanished_is_cancelled_by_the_rescue(
    connection: Connection,
) -> None:
    kept, unkept, other = add(connection), add(connection, keep=0), add(connection)
    claim(connection)
    run(connection, verbs.cancel([kept, unkept]))
    lapse(connection)

    assert run(connection, jobs.rescue(limit=10)) == (1, 0, 2)
    assert in_state(connection, "cancelled") == [kept]
    assert in_state(connection, "available") == [other]
    assert job_row(connection, kept).crashes == 1


# Stage and expire


def test_acceptance_3_a_job_is_staged_when_its_moment_has_come_and_not_before(
    connection: Connection,
) -> None:
    due, soon, far = (add(connection, delay=60) for _ in range(3))
    connection.execute("UPDATE pgqueue.jobs SET run_at = now() WHERE id = %s", [due])
    connection.execute(
        "UPDATE pgqueue.jobs SET run_at = now() + interval '1 microsecond' WHERE id = %s", [soon]
    )
    staged = run(connection, jobs.stage(limit=10))

    assert staged.staged == 1
    assert in_state(connection, "available") == [due]
    assert in_state(connection, "scheduled") == [soon, far]


def test_the_stager_knows_when_there_is_something_to_do_next(connection: Connection) -> None:
    assert run(connection, jobs.stage(limit=10)) == (0, None)
    add(connection, delay=3600)
    add(connection, delay=60)
    staged = run(connection, jobs.stage(limit=10))
    assert staged.next_in_ms == pytest.approx(60_000, abs=1_000)


def test_what_is_longest_due_is_staged_first(connection: Connection) -> None:
    ids = [add(connection, delay=60) for _ in range(4)]
    for ago, job_id in enumerate(ids):
        connection.execute(
            "UPDATE pgqueue.jobs SET run_at = now() - %s * interval '1s' WHERE id = %s",
            [ago, job_id],
        )
    assert run(connection, jobs.stage(limit=2)).staged == 2
    assert in_state(connection, "available") == ids[2:]


def test_a_waiting_job_past_its_expiry_is_buried(connection: Connection) -> None:
    long_ago = datetime(2001, 1, 1, tzinfo=UTC)
    late = add(connection, expires=long_ago)
    add(connection, expires=3600)
    add(connection)
    later = add(connection, expires=long_ago, delay=60)
    running = add(connection, expires=60)
    claim(connection)
    connection.execute("UPDATE pgqueue.jobs SET expires_at = %s WHERE id = %s", [long_ago, running])

    assert run(connection, jobs.expire(limit=10)) == 1
    assert in_state(connection, "dead") == [late]
    row = job_row(connection, late)
    assert (row.reason, row.error_type, row.failures) == ("expired", "Expired", 0)
    assert in_state(connection, "scheduled") == [later]
    assert running in in_state(connection, "running")


# The dead letter


def _die_finished(connection: Connection) -> None:
    write(connection, Died(claim_one(connection), 0, 1, FAILURE, Reason.TIMEOUT))


def _die_crashed(connection: Connection) -> None:
    connection.execute("UPDATE pgqueue.jobs SET max_crashes = 1")
    write(connection, Crashed(claim_one(connection), 0, 1, "exit code -11"))


def _die_rescued(connection: Connection) -> None:
    connection.execute("UPDATE pgqueue.jobs SET max_crashes = 1")
    crash(connection)


def _die_expired(connection: Connection) -> None:
    connection.execute("UPDATE pgqueue.jobs SET expires_at = now()")
    run(connection, jobs.expire(limit=10))


DEATHS = {
    "timeout": _die_finished,
    "crashed child": _die_crashed,
    "crashed worker": _die_rescued,
    "expired": _die_expired,
}
every_death = pytest.mark.parametrize("die", DEATHS.values(), ids=list(DEATHS))


@every_death
def test_the_dead_letter_holds_the_last_ten_attempts(
    connection: Connection, die: Callable[[Connection], None]
) -> None:
    job_id = add(connection, max_attempts=1000)
    for _ in range(12):
        fail(connection, claim_one(connection))
    die(connection)
    row = job_row(connection, job_id)
    made = [attempt.attempt for attempt in attempt_rows(connection, job_id)]

    assert row.state == "dead"
    assert [entry["attempt"] for entry in row.history] == made[-10:]
    kept = [entry for entry in row.history if entry["outcome"] == "failed"]
    assert kept
    for entry in kept[:9]:
        assert (entry["error_type"], entry["error"], entry["traceback"]) == FAILURE[:3]
        assert datetime.fromisoformat(entry["ended_at"]).tzinfo is not None


@every_death
def test_the_dead_letter_of_a_first_attempt_holds_what_there_is(
    connection: Connection, die: Callable[[Connection], None]
) -> None:
    job_id = add(connection)
    die(connection)
    row = job_row(connection, job_id)
    assert len(row.history or []) == len(attempt_rows(connection, job_id))
    assert row.error
    assert row.error_type


def test_the_dead_letter_outlives_the_attempts(connection: Connection) -> None:
    job_id = bury(connection)
    connection.execute("DELETE FROM pgqueue.attempts")
    details = run(connection, inspection.show_job(job_id))
    assert [attempt.error for attempt in details.attempts] == ["no good"]


@pytest.mark.parametrize("letter", ["x", "ä", "\U0001f40c"])
def test_the_dead_letter_is_bounded_to_64_kib(connection: Connection, letter: str) -> None:
    job_id = add(connection, max_attempts=1000)
    size = len(letter.encode())
    huge = Failure("E" * 200, letter * (8192 // size), letter * (16_384 // size), "f" * 300)
    for _ in range(11):
        write(connection, Retried(claim_one(connection), 0, 1, huge, 0))
    write(connection, Died(claim_one(connection), 0, 1, huge, Reason.ATTEMPTS_EXHAUSTED))
    size_of = connection.execute(
        "SELECT octet_length(history::text) FROM pgqueue.jobs WHERE id = %s", [job_id]
    ).fetchone()
    assert size_of
    assert size_of[0] <= 64 * 1024
    assert len(job_row(connection, job_id).history) == 10


@every_death
def test_a_death_enqueues_its_reaction_in_the_same_statement(
    connection: Connection, die: Callable[[Connection], None]
) -> None:
    job_id = add(connection, on_dead_task="mourn", actor="ada", queue="default")
    die(connection)
    row = job_row(connection, job_id)
    (reaction,) = (job_row(connection, other) for other in in_state(connection, "available"))

    assert (reaction.task, reaction.actor, reaction.on_dead_task) == ("mourn", "ada", None)
    assert reaction.args == {
        "job_id": job_id,
        "task": "work",
        "queue": "default",
        "reason": row.reason,
        "error_type": row.error_type,
        "error": row.error,
    }


def test_the_reaction_runs_as_its_own_task_says_but_reacts_to_nothing(
    connection: Connection,
) -> None:
    declared = NewJob("mourn", queue="grief", priority=7, on_dead_task="mourn")
    run(connection, upkeep.sync_tasks([declared]))
    bury(connection, on_dead_task="mourn")
    (reaction,) = claim(connection, queues=["grief"], tasks=["mourn"])
    assert reaction.priority == 7
    write(connection, Died(reaction, 0, 1, FAILURE, Reason.TIMEOUT))

    assert in_state(connection, "available") == []
    assert len(in_state(connection, "dead")) == 2


def forbid_mourning(connection: Connection, sqlstate: str = "raise_exception") -> None:
    """An application's own trigger, that lets no job of ``mourn`` in."""
    connection.execute(
        f"""
        CREATE FUNCTION pg_temp.forbid() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'no mourning' USING ERRCODE = '{sqlstate}'; END $$;
        CREATE TRIGGER forbid BEFORE INSERT ON pgqueue.jobs FOR EACH ROW
            WHEN (NEW.task = 'mourn') EXECUTE FUNCTION pg_temp.forbid()
        """
    )


@every_death
def test_a_reaction_that_is_refused_holds_up_no_death_and_is_audited(
    connection: Connection, die: Callable[[Connection], None]
) -> None:
    forbid_mourning(connection)
    warnings: list[str] = []
    connection.add_notice_handler(lambda notice: warnings.append(str(notice.message_primary)))
    job_id = add(connection, on_dead_task="mourn")
    die(connection)

    assert in_state(connection, "dead") == [job_id]
    assert warnings == [f"job {job_id}: its on_dead_task mourn could not be enqueued: no mourning"]
    ((verb, _, audited, queue, reason, detail),) = audit(connection)
    assert (verb, audited, queue, reason) == ("on_dead_failed", job_id, "default", "no mourning")
    assert detail == {"on_dead_task": "mourn", "sqlstate": "P0001"}


def test_a_reaction_that_the_next_try_will_enqueue_is_not_given_up(connection: Connection) -> None:
    forbid_mourning(connection, "serialization_failure")
    with pytest.raises(errors.SerializationFailure):
        bury(connection, on_dead_task="mourn")


def test_a_dead_job_without_a_reaction_enqueues_nothing(connection: Connection) -> None:
    bury(connection)
    assert in_state(connection, "available") == []


def test_a_refused_death_enqueues_no_reaction(connection: Connection) -> None:
    add(connection, on_dead_task="mourn")
    job = claim_one(connection)
    died = Died(job, 0, 1, FAILURE, Reason.TIMEOUT)
    assert write(connection, died, worker_id=OTHER_WORKER) == set()
    assert in_state(connection, "available") == []


# People's verbs


def audit(connection: Connection) -> list[tuple[Any, ...]]:
    return connection.execute(
        "SELECT verb, actor, job_id, queue, reason, detail FROM pgqueue.audit "
        "WHERE verb <> 'adopt' ORDER BY id"
    ).fetchall()


def states(connection: Connection) -> dict[str, int]:
    """A job in each state there is."""
    found = {"dead": bury(connection)}
    for state in ("succeeded", "cancelled", "discarded", "running"):
        found[state] = add(connection)
    succeeded, cancelled, discarded, _ = claim(connection)
    write(
        connection,
        OUTCOMES["Succeeded"](succeeded),
        OUTCOMES["Cancelled"](cancelled),
        OUTCOMES["Died"](discarded),
    )
    connection.execute("SELECT pgqueue.discard(%s)", [found["discarded"]])
    found["scheduled"] = add(connection, delay=60)
    found["available"] = add(connection)
    found["blocked"] = add(connection)
    connection.execute(
        "UPDATE pgqueue.jobs SET state = 'blocked' WHERE id = %s", [found["blocked"]]
    )
    found["unknown"] = 987_654_321
    # It only grows; but this transaction is the owner's, and is rolled back.
    connection.execute("ALTER TABLE pgqueue.audit DISABLE TRIGGER audit_append_only")
    connection.execute("DELETE FROM pgqueue.audit")
    return found


def test_every_state_can_be_had(connection: Connection) -> None:
    found = states(connection)
    assert found.keys() == {*State, "unknown"}
    for state in State:
        assert job_row(connection, found[state]).state == state


ANSWERS = {
    "cancel": {
        "blocked": "cancelled",
        "scheduled": "cancelled",
        "available": "cancelled",
        "running": "requested",
    },
    "retry": {"dead": "available", "scheduled": "available"},
    "discard": {"dead": "discarded"},
    "edit": {
        "blocked": "edited",
        "scheduled": "edited",
        "available": "edited",
        "dead": "edited",
    },
}
SO_ALREADY = {("cancel", "cancelled"), ("retry", "available"), ("discard", "discarded")}
"""Nothing is done, and the answer is that of having done it."""
VERBS: dict[str, Callable[[int], Any]] = {
    "cancel": lambda job_id: verbs.cancel([job_id], actor="ada", reason="why not"),
    "retry": lambda job_id: verbs.retry([job_id], actor="ada", reason="why not"),
    "discard": lambda job_id: verbs.discard([job_id], actor="ada", reason="why not"),
    "edit": lambda job_id: verbs.edit(job_id, args='{"new": 1}', actor="ada", reason="why not"),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("state", [*State, "unknown"])
def test_a_verb_does_what_the_state_allows_and_tells_what_forbids_it(
    connection: Connection, verb: str, state: str
) -> None:
    job_id = states(connection)[state]
    before = everything(connection)
    done = run(connection, VERBS[verb](job_id))
    done = done[0] if isinstance(done, list) else done
    allowed = ANSWERS[verb].get(state)
    so_already = (verb, state) in SO_ALREADY

    assert done == (job_id, allowed is not None or so_already, allowed or state)
    if allowed is None:
        assert everything(connection) == before
        assert audit(connection) == []
    else:
        ((name, actor, audited, _, reason, _),) = audit(connection)
        assert (name, actor, audited, reason) == (verb, "ada", job_id, "why not")
        new = State(job_row(connection, job_id).state)
        assert new == state or new in TRANSITIONS[State(state)]


def test_a_redriven_job_starts_anew_but_for_its_attempt(connection: Connection) -> None:
    job_id = add(connection, max_attempts=3, expires=3600, args='{"old": 1}', key="k")
    fail(connection, claim_one(connection))
    write(connection, Died(claim_one(connection), 0, 1, FAILURE, Reason.NON_RETRYABLE))
    (done,) = run(connection, verbs.retry([job_id], args='{"new": 1}', actor="ada"))
    row = job_row(connection, job_id)

    assert done == (job_id, True, "available")
    assert (row.failures, row.crashes, row.attempt) == (0, 0, 2)
    assert (row.reason, row.error_type, row.error, row.fingerprint) == (None,) * 4
    assert (row.history, row.died_at, row.expires_at) == (None,) * 3
    assert (row.args, row.key) == ({"new": 1}, "k")
    assert audit(connection) == [("retry", "ada", job_id, "default", None, {"args_edited": True})]
    assert claim_one(connection).attempt == 3


def test_a_redriven_poison_job_is_no_suspect_any_more(connection: Connection) -> None:
    add(connection, max_crashes=1)
    crash(connection)
    (dead,) = in_state(connection, "dead")
    run(connection, verbs.retry([dead]))
    assert [job.id for job in claim(connection)] == [dead]


def test_a_scheduled_job_is_made_to_run_now(connection: Connection) -> None:
    job_id = add(connection, delay=3600, args='{"x": 1}')
    run(connection, verbs.retry([job_id]))
    assert claim_one(connection).args == '{"x": 1}'


def test_a_discarded_job_keeps_its_analysis_in_history(connection: Connection) -> None:
    job_id = bury(connection, args='{"x": 1}')
    run(connection, verbs.discard([job_id], reason="not worth it"))
    row = job_row(connection, job_id)
    assert (row.state, row.reason, row.error, row.attempt) == (
        "discarded",
        "non_retryable",
        "no good",
        1,
    )
    assert len(row.history) == 1
    assert row.args == {"x": 1}


@pytest.mark.parametrize("verb", ["cancel", "discard"])
def test_what_is_not_to_be_kept_leaves_only_the_audit(connection: Connection, verb: str) -> None:
    job_id = bury(connection, keep=0) if verb == "discard" else add(connection, keep=0)
    (done,) = run(connection, VERBS[verb](job_id))
    assert done.ok
    assert job_row(connection, job_id) is None
    assert [row[0] for row in audit(connection)] == [verb]


def test_an_edited_job_runs_with_its_new_arguments(connection: Connection) -> None:
    job_id = add(connection, args='{"old": 1}')
    run(connection, verbs.edit(job_id, args='{"new": 1}'))
    assert claim_one(connection).args == '{"new": 1}'


def test_a_waiting_job_is_cancelled_with_its_reason(connection: Connection) -> None:
    job_id = add(connection)
    run(connection, verbs.cancel([job_id], reason="changed my mind"))
    row = job_row(connection, job_id)
    assert (row.state, row.error, row.started_at) == ("cancelled", "changed my mind", None)


def test_a_running_job_is_asked_to_stop_and_its_worker_told(
    two: tuple[Connection, Connection],
) -> None:
    _, comer = two
    comer.execute("LISTEN pgqueue_cancel")
    job_id = add(comer)
    job = claim_one(comer)
    for _ in range(2):
        assert run(comer, verbs.cancel([job_id])) == [(job_id, True, "requested")]

    assert job_row(comer, job_id).state == "running"
    (held,) = run(comer, jobs.renew(worker_id=WORKER, ids=[job_id], attempts=[1], lease=LEASE))
    assert held.cancel_requested
    payloads = {note.payload for note in comer.notifies(timeout=30, stop_after=1)}
    assert payloads == {str(job_id)}
    assert write(comer, OUTCOMES["Succeeded"](job)) == {job_id}


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_does_not_wait_for_a_row_but_says_busy(
    two: tuple[Connection, Connection], verb: str
) -> None:
    holder, comer = two
    job_id = bury(comer) if verb in ("retry", "discard") else add(comer)
    holder.execute("SELECT FROM pgqueue.jobs FOR NO KEY UPDATE")
    comer.execute("SET lock_timeout = '1ms'")
    done = run(comer, VERBS[verb](job_id))
    done = done[0] if isinstance(done, list) else done

    assert done == (job_id, False, "busy")
    assert audit(comer) == []


def test_many_jobs_are_answered_in_the_order_given(connection: Connection) -> None:
    ids = [add(connection) for _ in range(3)]
    answers = run(connection, verbs.cancel([ids[2], 987_654_321, ids[0]]))
    assert [(done.id, done.answer) for done in answers] == [
        (ids[2], "cancelled"),
        (987_654_321, "unknown"),
        (ids[0], "cancelled"),
    ]


def test_without_an_actor_the_database_user_is_audited(connection: Connection) -> None:
    job_id = add(connection)
    run(connection, verbs.cancel([job_id]))
    user = connection.execute("SELECT session_user::text").fetchone()
    assert user
    assert [row[1] for row in audit(connection)] == [user[0]]


def test_pause_and_resume_are_audited_and_may_be_repeated(connection: Connection) -> None:
    def paused_at() -> Any:
        row = connection.execute("SELECT paused_at FROM pgqueue.queues").fetchone()
        return row and row[0]

    run(connection, verbs.pause("mail", actor="ada", reason="flood"))
    first = paused_at()
    run(connection, verbs.pause("mail", actor="bob"))
    assert first is not None
    assert paused_at() == first
    run(connection, verbs.resume("mail", actor="ada"))
    run(connection, verbs.resume("mail", actor="ada"))
    run(connection, verbs.resume("never seen", actor="ada"))
    assert paused_at() is None
    assert [(row[0], row[1], row[3], row[4]) for row in audit(connection)] == [
        ("pause", "ada", "mail", "flood"),
        ("pause", "bob", "mail", None),
        ("resume", "ada", "mail", None),
        ("resume", "ada", "mail", None),
        ("resume", "ada", "never seen", None),
    ]


# Whatever happens


@pytest.mark.parametrize("seed", range(4))
def test_over_any_sequence_every_move_is_legal_and_no_attempt_ever_decreases(
    connection: Connection, seed: int
) -> None:
    chance = random.Random(seed)
    workers = [str(uuid4()) for _ in range(3)]
    held: list[tuple[str, Job]] = []
    ids = [
        add(connection, max_crashes=chance.randint(1, 3), delay=chance.choice([0, 60]))
        for _ in range(12)
    ]
    seen: dict[int, tuple[State, int]] = {job_id: (State.AVAILABLE, 0) for job_id in ids}
    seen.update((job_id, (State.SCHEDULED, 0)) for job_id in in_state(connection, "scheduled"))

    def claim_some() -> None:
        worker = chance.choice(workers)
        held.extend((worker, job) for job in claim(connection, limit=4, worker_id=worker))

    def claim_a_suspect() -> None:
        worker = chance.choice(workers)
        held.extend((worker, job) for job in claim_suspects(connection, worker_id=worker))

    def finish_one() -> None:
        if held:
            worker, job = chance.choice(held)
            kind = chance.choice(["Retried", "Retried", *OUTCOMES])
            write(connection, OUTCOMES[kind](job), worker_id=worker)

    def lose_some() -> None:
        connection.execute(
            "UPDATE pgqueue.jobs SET lease_until = now() - interval '1s' "
            "WHERE state = 'running' AND id %% 3 = %s",
            [chance.randrange(3)],
        )
        run(connection, jobs.rescue(limit=3))

    def come_due() -> None:
        connection.execute("UPDATE pgqueue.jobs SET run_at = now() WHERE state = 'scheduled'")
        run(connection, jobs.stage(limit=3))

    def expire_one() -> None:
        connection.execute(
            "UPDATE pgqueue.jobs SET expires_at = now() WHERE id = %s AND state = 'available'",
            [chance.choice(ids)],
        )
        run(connection, jobs.expire(limit=1))

    def act() -> None:
        run(connection, VERBS[chance.choice([*VERBS, "retry", "retry"])](chance.choice(ids)))

    def give_back() -> None:
        in_hand = [job for _, job in held[::2]]
        run(connection, jobs.release_strays(worker_id=chance.choice(workers), held=in_hand))

    steps = [claim_some, claim_some, finish_one, finish_one, come_due, lose_some, act]
    steps += [claim_a_suspect, claim_a_suspect, expire_one, give_back]
    for _ in range(150):
        step = chance.choice(steps)
        step()
        rows = connection.execute("SELECT id, state, attempt FROM pgqueue.all_jobs").fetchall()
        assert sorted(row[0] for row in rows) == ids, "a job is lost, or there twice"
        for job_id, state, attempt in rows:
            old_state, old_attempt = seen[job_id]
            assert state == old_state or state in TRANSITIONS[old_state], step.__name__
            assert attempt >= old_attempt, step.__name__
            assert attempt == old_attempt or step in (claim_some, claim_a_suspect)
            seen[job_id] = (State(state), attempt)
    assert any(attempt > 2 for _, attempt in seen.values())
