"""A verb on all jobs that a filter fits: looked at first, then done in steps that commit alone."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from pgqueue.errors import InvalidOption
from pgqueue.job import LIVE_STATES, State
from pgqueue.job_filter import JobFilter
from pgqueue.options import check_number, check_text
from pgqueue.storage.listing import JobSummary
from pgqueue.storage.operation import Operation, query

SLICE = 500
"""So many jobs one step touches at most: some 30 ms."""

COUNTED_UP_TO = 100_000
"""A survey stops counting there."""
LOOK = 20_000
LOOKED_AT_MOST = 1_000_000
"""After so many rows a survey stops, whatever it found."""
SAMPLES = 5


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


class Steered(NamedTuple):
    """What became of the jobs that a filter fits."""

    done: int
    unchanged: int
    """These were so already."""
    refused: Mapping[str, int]
    """By the state that forbids it; ``expires``: would be dead before it may start; ``gone``: is
    over, or was never there."""
    busy: int
    """The rows of these were being written, twice: do it again."""
    up_to: int
    """No job with a higher id was looked at."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """Who does it and why, for the audit."""

    actor: str | None = None
    reason: str | None = None


class Course:
    """A verb on its way through the jobs that a filter fits, oldest first.

    Each step is one statement, and leaves nothing undone: stopped between any two, or killed in
    one, another course goes on, for what is done is no longer fitting or is ``unchanged``. What was
    locked is tried again once, at the end.
    """

    def __init__(
        self, change: Change, wanted: JobFilter, start: Start, why: Why, *, limit: int | None = None
    ) -> None:
        self._change = change
        self._wanted = wanted
        self._start = start
        self._why = why
        self._limit = limit
        self._after: int | None = 0
        self._busy: list[int] = []
        self._is_second = False
        self._sought = None if wanted.ids is None else len(set(wanted.ids))
        self._fitted = self._done = self._unchanged = 0
        self._refused: Counter[str] = Counter()

    @property
    def is_over(self) -> bool:
        """Whether every job was looked at, or as many were touched as may be."""
        return self._after is None or self._done == self._limit

    @property
    def done(self) -> int:
        """How many jobs were touched."""
        return self._done

    def step(self, at_most: int = SLICE) -> Operation[None]:
        """Touch up to *at_most* more jobs. Only as long as it is not over."""
        left = at_most if self._limit is None else min(at_most, self._limit - self._done)
        rows = yield from query(
            "call_steer",
            verb=str(self._change.verb),
            filter=self._wanted.stored(self._start.now),
            setting=self._change.setting,
            actor=self._why.actor,
            reason=self._why.reason,
            after_id=self._after,
            up_to=self._start.up_to,
            at_most=left,
        )
        done, unchanged, refused, busy, fitted, self._after = rows[0]
        self._done += done
        self._unchanged += unchanged
        self._refused.update(json.loads(refused))
        self._fitted += fitted
        self._busy += json.loads(busy)
        if self._after is None:
            self._count_gone()
            if self._busy and not self._is_second:
                self._begin_again()

    @property
    def outcome(self) -> Steered:
        """What became of the jobs so far."""
        return Steered(
            self._done,
            self._unchanged,
            dict(sorted(self._refused.items())),
            len(self._busy),
            self._start.up_to,
        )

    def _begin_again(self) -> None:
        self._is_second = True
        self._wanted = replace(self._wanted, ids=self._busy)
        self._sought, self._fitted = len(self._busy), 0
        self._busy, self._after = [], 0

    def _count_gone(self) -> None:
        """Those that were asked for by their ids and did not fit."""
        if self._sought is not None and self._sought > self._fitted:
            self._refused["gone"] += self._sought - self._fitted


def steer(
    change: Change, wanted: JobFilter, why: Why, *, limit: int | None = None
) -> Operation[Steered]:
    """Do it to every job that *wanted* fits and that is there now, *limit* at most."""
    start = yield from begin()
    course = Course(change, wanted, start, why, limit=limit)
    while not course.is_over:
        yield from course.step()
    return course.outcome
