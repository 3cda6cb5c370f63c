"""A verb on its way through all jobs that a filter fits, in steps that commit alone."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from pgqueue.job_filter import JobFilter
from pgqueue.storage.operation import Operation, query
from pgqueue.storage.steering import Change, Sieve, Start, begin, sift

SLICE = 500
"""So many jobs one step touches at most: some 30 ms."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """Who does it and why, for the audit."""

    actor: str | None = None
    reason: str | None = None


class Course:
    """A verb on its way through the jobs that a filter fits, oldest first.

    Each step is one statement, and leaves nothing undone: stopped between any two, or killed in
    one, another course goes on, for what is done is no longer fitting or is ``unchanged``. What was
    locked is tried again once, at the end. With a *sieve*, what it lets fall is refused as
    ``unfit``.
    """

    def __init__(
        self,
        change: Change,
        wanted: JobFilter,
        start: Start,
        why: Why,
        *,
        limit: int | None = None,
        sieve: Sieve | None = None,
    ) -> None:
        self._change = change
        self._wanted = wanted
        self._start = start
        self._why = why
        self._limit = limit
        self._sieve = sieve
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
        if self._sieve is None:
            fitted, self._after = yield from self._touch(self._wanted, self._after, left)
        else:
            ids, fitted, self._after = yield from sift(
                self._wanted, self._start, self._sieve, self._after, left
            )
            if len(ids) < fitted:
                self._refused["unfit"] += fitted - len(ids)
            if ids:
                yield from self._touch(replace(self._wanted, ids=ids), 0, left)
        self._fitted += fitted
        if self._after is None:
            self._count_gone()
            if self._busy and not self._is_second:
                self._begin_again()

    def _touch(
        self, wanted: JobFilter, after_id: int | None, at_most: int
    ) -> Operation[tuple[int, int | None]]:
        """Return how many fitted, and the id to go on after."""
        rows = yield from query(
            "call_steer",
            verb=str(self._change.verb),
            filter=wanted.stored(self._start.now),
            setting=self._change.setting,
            actor=self._why.actor,
            reason=self._why.reason,
            after_id=after_id,
            up_to=self._start.up_to,
            at_most=at_most,
        )
        done, unchanged, refused, busy, fitted, next_after = rows[0]
        self._done += done
        self._unchanged += unchanged
        self._refused.update(json.loads(refused))
        self._busy += json.loads(busy)
        return fitted, next_after

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
