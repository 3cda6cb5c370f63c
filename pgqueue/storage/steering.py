"""What can be done to all jobs that a filter fits, and how many those are."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from pgqueue.errors import InvalidOption
from pgqueue.job import LIVE_STATES, State
from pgqueue.job_filter import JobFilter
from pgqueue.options import check_number, check_text
from pgqueue.storage.listing import JobSummary
from pgqueue.storage.operation import Operation, query

COUNTED_UP_TO = 100_000
"""A survey stops counting there."""
LOOK = 20_000
LOOKED_AT_MOST = 1_000_000
"""After so many rows a survey stops, whatever it found."""
SAMPLES = 5
SIFTED_UP_TO = 10_000


class Verb(StrEnum):
    """What can be done to many jobs; the audit calls a redrive ``retry``."""

    CANCEL = "cancel"
    RUN_NOW = "run_now"
    RESCHEDULE = "reschedule"
    REPRIORITISE = "reprioritise"
    MOVE = "move"
    REDRIVE = "redrive"
    DISCARD = "discard"


_WAITING = (State.BLOCKED, State.SCHEDULED, State.AVAILABLE)
STATES: dict[Verb, tuple[State, ...]] = {
    Verb.CANCEL: _WAITING,
    Verb.RUN_NOW: (State.SCHEDULED,),
    Verb.RESCHEDULE: (State.SCHEDULED, State.AVAILABLE),
    Verb.REPRIORITISE: _WAITING,
    Verb.MOVE: _WAITING,
    Verb.REDRIVE: (State.DEAD,),
    Verb.DISCARD: (State.DEAD,),
}
"""The states of the jobs that a verb touches; it refuses those in others."""


class Change(NamedTuple):
    """A verb, and what it sets: a moment, a priority, a queue."""

    verb: Verb
    setting: str | None = None


class Start(NamedTuple):
    """When a verb on many jobs began, by the database's clock, and the newest job it is for."""

    now: datetime
    up_to: int


class Survey(NamedTuple):
    """What a filter fits, before anything is done."""

    states: Mapping[str, int]
    at_least: bool
    """Counting stopped at its limit."""
    sample: list[JobSummary]
    """Some of them, the oldest."""


def reschedule(run_at: datetime) -> Change:
    """Let jobs that wait run at this moment. Raises :class:`InvalidOption`."""
    if not isinstance(run_at, datetime) or run_at.utcoffset() is None:
        raise InvalidOption("run_at", f"must be a datetime with a time zone, not {run_at!r:.80}")
    return Change(Verb.RESCHEDULE, run_at.isoformat())


def reprioritise(priority: int) -> Change:
    """Give jobs that wait this priority. Raises :class:`InvalidOption`."""
    check_number("priority", priority, 0, 32767)
    return Change(Verb.REPRIORITISE, str(priority))


def move(queue: str) -> Change:
    """Put jobs that wait into this queue. Raises :class:`InvalidOption`."""
    check_text("queue", queue, 100)
    return Change(Verb.MOVE, queue)


def begin() -> Operation[Start]:
    """Return where a verb on many jobs begins: take it once, however often it is interrupted."""
    rows = yield from query("begin_steering")
    return Start._make(rows[0])


def survey(
    wanted: JobFilter, start: Start | None = None, *, sample_of: Sequence[str] = LIVE_STATES
) -> Operation[Survey]:
    """Count the jobs that *wanted* fits, by state, and show some of those in certain ones. Reads
    only, and never without bound. *start*: where the verb is to begin; now, if not said."""
    if start is None:
        start = yield from begin()
    states: Counter[str] = Counter()
    ids: list[int] = []
    looked_at, after_id = 0, 0
    while True:
        rows = yield from query(
            "survey_jobs",
            filter=wanted.stored(start.now),
            after_id=after_id,
            up_to=start.up_to,
            look=LOOK,
            samples=SAMPLES,
        )
        for state, jobs, some, _ in rows:
            if state is not None:
                states[state] += jobs
                ids += json.loads(some) if state in sample_of else ()
        looked_at, after_id = looked_at + LOOK, rows[0][3]
        at_least = after_id is not None and (
            states.total() >= COUNTED_UP_TO or looked_at >= LOOKED_AT_MOST
        )
        if at_least or after_id is None:
            break
    sample = yield from query("summarise_jobs", ids=sorted(ids)[:SAMPLES])
    return Survey(dict(states), at_least, [JobSummary._make(row[1:]) for row in sample])


Sieve = Callable[[int, str, str], bool]
"""Whether a job, by its id, task and stored arguments, is to be touched at all."""


def count_unfit(wanted: JobFilter, start: Start, sieve: Sieve) -> Operation[int]:
    """Return how many jobs that *wanted* fits the sieve lets fall, of the first ten thousand."""
    ids, seen, _ = yield from sift(wanted, start, sieve, 0, SIFTED_UP_TO)
    return seen - len(ids)


def sift(
    wanted: JobFilter, start: Start, sieve: Sieve, after_id: int | None, at_most: int
) -> Operation[tuple[list[int], int, int | None]]:
    """Return the next ids that the sieve lets through, how many it saw, and the id to go on
    after."""
    rows = yield from query(
        "read_matching",
        filter=wanted.stored(start.now),
        after_id=after_id,
        up_to=start.up_to,
        at_most=at_most,
    )
    seen = [row[:3] for row in rows if row[0] is not None]
    ids = [job_id for job_id, task, args in seen if sieve(job_id, task, args)]
    return ids, len(seen), rows[0][3]
