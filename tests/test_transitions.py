"""Every event in every state: what ``TRANSITIONS`` allows happens, and all else changes nothing."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

import psycopg
import pytest

from pgqueue import Keep
from pgqueue.failure import Failure
from pgqueue.job import FINAL_STATES, LIVE_STATES, TRANSITIONS, Job, Reason, State
from pgqueue.job_filter import JobFilter
from pgqueue.outcome import (
    Cancelled,
    Crashed,
    Died,
    Outcome,
    Released,
    Retried,
    Snoozed,
    Succeeded,
)
from pgqueue.storage import course, jobs, verbs
from pgqueue.storage.drivers import run
from pgqueue.storage.finishing import finish
from pgqueue.storage.operation import query
from pgqueue.storage.steering import Change, Verb, reschedule
from tests.rows import LEASE, OTHER_WORKER, WORKER, add, claim, claim_one, claim_suspects, job_row

Connection = psycopg.Connection[Any]

S = State
FAILURE = Failure("Error", "e", None, "f")

NOT_MADE = {
    (S.BLOCKED, S.SCHEDULED),
    (S.BLOCKED, S.AVAILABLE),
    (S.BLOCKED, S.DEAD),
    (S.DEAD, S.SCHEDULED),
}
"""Moves that the table allows and nothing makes yet: no job is blocked so far."""

NOT_SEEN = {(S.SCHEDULED, S.BLOCKED), (S.AVAILABLE, S.BLOCKED)}
"""Illegal moves between states that one row cannot tell apart."""


class Event(NamedTuple):
    """Something that befalls a job, and the moves it makes."""

    name: str
    do: Callable[[Connection, Job], object]
    moves: dict[State, State]
    is_of_worker: bool = False
    """Whether a worker says it of an attempt, so that it is fenced."""

    def __str__(self) -> str:
        return self.name


def outcome(make: Callable[[Job], Outcome]) -> Callable[[Connection, Job], set[int]]:
    return lambda connection, job: run(connection, finish([make(job)], worker_id=WORKER, moment=0))


def renew(connection: Connection, job: Job) -> object:
    return run(
        connection,
        jobs.renew(worker_id=WORKER, ids=[job.id], attempts=[job.attempt], lease=LEASE),
    )


def steer(change: Change) -> Callable[[Connection, Job], object]:
    return lambda connection, job: run(
        connection, course.steer(change, JobFilter(ids=[job.id]), course.Why())
    )


EVENTS = [
    Event("claim", lambda c, _: claim(c), {S.AVAILABLE: S.RUNNING}),
    Event("claim suspects", lambda c, _: claim_suspects(c), {}),
    Event("succeed", outcome(lambda j: Succeeded(j, 0, 0, None)), {S.RUNNING: S.SUCCEEDED}, True),
    Event("fail", outcome(lambda j: Retried(j, 0, 0, FAILURE, 60)), {S.RUNNING: S.SCHEDULED}, True),
    Event(
        "fail at once",
        outcome(lambda j: Retried(j, 0, 0, FAILURE, 0)),
        {S.RUNNING: S.AVAILABLE},
        True,
    ),
    Event(
        "die",
        outcome(lambda j: Died(j, 0, 0, FAILURE, Reason.NON_RETRYABLE)),
        {S.RUNNING: S.DEAD},
        True,
    ),
    Event("give up", outcome(lambda j: Cancelled(j, 0, 0, None)), {S.RUNNING: S.CANCELLED}, True),
    Event("snooze", outcome(lambda j: Snoozed(j, 0, 0, 60)), {S.RUNNING: S.SCHEDULED}, True),
    Event("release", outcome(lambda j: Released(j, 0, 0, "")), {S.RUNNING: S.AVAILABLE}, True),
    Event("crash", outcome(lambda j: Crashed(j, 0, 0, "")), {S.RUNNING: S.AVAILABLE}, True),
    Event("renew", renew, {S.RUNNING: S.RUNNING}, True),
    Event("rescue", lambda c, _: run(c, jobs.rescue(limit=9)), {S.RUNNING: S.AVAILABLE}),
    Event("stage", lambda c, _: run(c, jobs.stage(limit=9)), {S.SCHEDULED: S.AVAILABLE}),
    Event("expire", lambda c, _: run(c, jobs.expire(limit=9)), {S.AVAILABLE: S.DEAD}),
    Event(
        "cancel",
        lambda c, j: run(c, verbs.cancel([j.id])),
        {
            S.BLOCKED: S.CANCELLED,
            S.SCHEDULED: S.CANCELLED,
            S.AVAILABLE: S.CANCELLED,
            S.RUNNING: S.RUNNING,
        },
    ),
    Event(
        "redrive",
        lambda c, j: run(c, verbs.retry([j.id])),
        {S.DEAD: S.AVAILABLE, S.SCHEDULED: S.AVAILABLE},
    ),
    Event("run now", steer(Change(Verb.RUN_NOW)), {S.SCHEDULED: S.AVAILABLE}),
    Event(
        "postpone",
        steer(reschedule(datetime(2999, 1, 1, tzinfo=UTC))),
        {S.AVAILABLE: S.SCHEDULED, S.SCHEDULED: S.SCHEDULED},
    ),
    Event("discard", lambda c, j: run(c, verbs.discard([j.id])), {S.DEAD: S.DISCARDED}),
    Event("prune", lambda c, _: run(c, query("discard_dead", limit=9)), {S.DEAD: S.DISCARDED}),
]


def put(connection: Connection, state: State) -> Job:
    """A job in *state*, and what its last attempt had been told. All that time can do to it is due:
    its lease has run out, it may start, it is too late to, it was kept long enough."""
    job_id = add(connection, keep=Keep(dead=1))
    job = claim_one(connection)
    how: dict[State, Outcome] = {
        S.SUCCEEDED: Succeeded(job, 0, 0, None),
        S.CANCELLED: Cancelled(job, 0, 0, None),
        S.DEAD: Died(job, 0, 0, FAILURE, Reason.NON_RETRYABLE),
        S.DISCARDED: Died(job, 0, 0, FAILURE, Reason.NON_RETRYABLE),
        S.SCHEDULED: Snoozed(job, 0, 0, 60),
        S.AVAILABLE: Released(job, 0, 0, ""),
        S.BLOCKED: Released(job, 0, 0, ""),
    }
    if state in how:
        run(connection, finish([how[state]], worker_id=WORKER, moment=0))
    if state is S.DISCARDED:
        run(connection, verbs.discard([job_id]))
    connection.execute(
        "UPDATE pgqueue.jobs SET state = CASE WHEN %(blocked)s THEN 'blocked' ELSE state END,"
        " lease_until = lease_until - interval '1 day', run_at = run_at - interval '1 day',"
        " died_at = died_at - interval '1 day'",
        {"blocked": state is S.BLOCKED},
    )
    assert job_row(connection, job_id).state == state
    return job


def late(connection: Connection) -> None:
    """It must not start any more. A claim passes over it then, so this is for the expiry alone."""
    connection.execute("UPDATE pgqueue.jobs SET expires_at = now() - interval '1 day'")


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", EVENTS, ids=str)
def test_an_event_moves_a_job_as_the_table_says_or_changes_nothing(
    connection: Connection, event: Event, state: State
) -> None:
    job = put(connection, state)
    if event.name == "expire":
        late(connection)
    before = job_row(connection, job.id)

    event.do(connection, job)

    after = job_row(connection, job.id)
    if state in event.moves:
        to = event.moves[state]
        assert after.state == to
        assert to is state or to in TRANSITIONS[state]
    else:
        assert after == before


@pytest.mark.parametrize("event", [event for event in EVENTS if event.is_of_worker], ids=str)
@pytest.mark.parametrize("attempt", [-1, +1])
def test_what_a_worker_says_of_another_attempt_changes_nothing(
    connection: Connection, event: Event, attempt: int
) -> None:
    job = put(connection, S.RUNNING)
    before = job_row(connection, job.id)
    event.do(connection, job._replace(attempt=job.attempt + attempt))
    assert job_row(connection, job.id) == before


@pytest.mark.parametrize("event", [event for event in EVENTS if event.is_of_worker], ids=str)
def test_what_another_worker_says_of_an_attempt_changes_nothing(
    connection: Connection, event: Event
) -> None:
    job = put(connection, S.RUNNING)
    connection.execute("UPDATE pgqueue.jobs SET worker_id = %s", [OTHER_WORKER])
    before = job_row(connection, job.id)
    event.do(connection, job)
    assert job_row(connection, job.id) == before


def test_every_move_of_the_table_is_made_by_some_event() -> None:
    made = {move for event in EVENTS for move in event.moves.items() if move[0] is not move[1]}
    allowed = {(state, to) for state, tos in TRANSITIONS.items() for to in tos}
    assert made == allowed - NOT_MADE


@pytest.mark.parametrize(
    ("state", "to"),
    [(s, to) for s in LIVE_STATES for to in State if to is not s and to not in TRANSITIONS[s]],
)
def test_an_illegal_move_by_hand_is_refused_by_the_table_of_jobs(
    connection: Connection, state: State, to: State
) -> None:
    job = put(connection, state)
    query = "UPDATE pgqueue.jobs SET state = %s WHERE id = %s"
    if (state, to) in NOT_SEEN:
        connection.execute(query, [to, job.id])
    else:
        with pytest.raises(psycopg.errors.CheckViolation):
            connection.execute(query, [to, job.id])


@pytest.mark.parametrize("state", FINAL_STATES)
@pytest.mark.parametrize("to", LIVE_STATES)
def test_what_is_over_cannot_be_brought_back_to_life_by_hand(
    connection: Connection, state: State, to: State
) -> None:
    job = put(connection, state)
    with pytest.raises(psycopg.errors.CheckViolation):
        connection.execute(
            "UPDATE pgqueue.finished_jobs SET state = %s WHERE id = %s", [to, job.id]
        )
