"""Where the claims of each queue begin while its head is slow to search. Knows no database.

Normally a claim searches from the head of each queue. The head may be slow, whatever the cause:
rows that were claimed there long ago and cannot be cleaned up while somebody holds an old snapshot,
or a crowd of jobs that no worker here knows. Then each band (a priority of that queue) is entered
behind the last job that was claimed from it, and beside the claims a *sweep* looks through the ids,
from the newest down, for what came in behind: in spans sized to some milliseconds, for a tenth of
the time. From time to time a claim tries the head of one such queue again; once that is fast, its
cursors go.

Nothing depends on a cursor being right: one that is too far ahead makes the jobs behind it wait for
the sweep, at most ``bound``.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from pgqueue.job import Job
from pgqueue.storage.claiming import Band, Behind, Claimed

Place = tuple[datetime, int]
"""``run_at`` and id of a job, behind which a claim begins."""

_START = datetime.min.replace(tzinfo=UTC)
_FIRST: Place = (_START, 0)
_LAST_ID = 2**63 - 1
_PRIORITIES = 32768

_SLOW_US = 600
_SLOW_US_A_JOB = 20
"""A search of a healthy head takes a tenth of this."""
_SLOW_IN_A_ROW = 3
_SPAN = 20_000
_SPAN_US = 4_000
_SHARE = 0.1
_TRIAL_SHARE = 0.02
_FIRST_TRIAL, _LAST_TRIAL = 2.0, 60.0
"""Seconds until a head is searched again. Twice as long each time: a job that comes in meanwhile
waits for a search that is slow."""


class Search(NamedTuple):
    """Where a claim is to begin."""

    from_head: frozenset[str]
    """The queues that are searched from their heads: those without cursors, and the trial."""
    beyond: frozenset[str]
    """Those that are entered at their cursors."""
    trial: str | None
    """One that has cursors, to see whether its head is fast again."""
    found: Mapping[str, Sequence[int]]
    """Jobs behind the cursors, to be claimed by their ids."""


@dataclass(slots=True)
class _Left:
    """A queue whose head was left."""

    places: dict[int, Place]
    """By priority."""
    trial_at: float
    pause: float = _FIRST_TRIAL
    found: dict[int, None] = field(default_factory=dict)
    """Jobs that the sweep found behind the places, for the next claim."""

    def take(self, most: int) -> list[int]:
        """Return some of what was found."""
        taken = list(self.found)[:most]
        for job_id in taken:
            del self.found[job_id]
        return taken


class Cursors:
    """Decides where claims begin. *priorities*: those that are known of each queue beforehand."""

    def __init__(self, priorities: Mapping[str, Sequence[int]]) -> None:
        self._declared = {queue: tuple(known) for queue, known in priorities.items()}
        self._left: dict[str, _Left] = {}
        self._slow_in_a_row: Counter[str] = Counter()
        """How many of the last searches of a queue's head were slow; one that is fast says nothing
        of the others."""
        self._trials_from = 0.0
        self._high: int | None = None
        self._span = _SPAN
        self._sweep_at = 0.0
        self._cycle_began: float | None = None
        self.bound: float | None = None
        """Seconds that the last whole sweep took: so long a job behind a cursor waits at most."""

    @property
    def in_use(self) -> bool:
        """Whether claims of a queue begin at cursors, now."""
        return bool(self._left)

    @property
    def queues(self) -> Collection[str]:
        """The queues that have cursors."""
        return self._left.keys()

    def search(self, limits: Mapping[str, int], now: float) -> Search:
        """Return where to begin the next claim, of up to ``limits[queue]`` jobs of each queue."""
        left = {queue: self._left[queue] for queue in limits if queue in self._left}
        due = [
            queue for queue, head in left.items() if now >= max(head.trial_at, self._trials_from)
        ]
        trial = min(due, key=lambda queue: left[queue].trial_at, default=None)
        beyond = frozenset(left) - {trial}
        found = {queue: left[queue].take(limits[queue]) for queue in beyond}
        return Search(frozenset(limits) - beyond, beyond, trial, found)

    def bands(self, search: Search) -> list[tuple[Band, int]]:
        """Return where to enter each band of the queues, and the priority at which it ends.

        The first of a queue has no cursor: it is for priorities that nobody has seen yet."""
        found = [(Band(queue, -1, *_FIRST), _PRIORITIES) for queue in sorted(search.from_head)]
        for queue in sorted(search.beyond):
            starts = [(-1, _FIRST), *sorted(self._left[queue].places.items())]
            ends = [priority for priority, _ in starts[1:]] + [_PRIORITIES]
            for (priority, place), below in zip(starts, ends, strict=True):
                found.append((Band(queue, priority, *place), below))
        return found

    def places(self) -> list[Band]:
        """Return the cursors themselves."""
        return [
            Band(queue, priority, *place)
            for queue, head in self._left.items()
            for priority, place in head.places.items()
        ]

    def searched(self, search: Search, claim: Claimed, now: float) -> bool:
        """Learn from a claim that began there; return whether another head was left. Of a paused
        queue it says nothing."""
        self._follow(claim.jobs)
        from_head = search.from_head - claim.paused
        is_slow = _is_slow(claim)
        if search.trial in self._left and (is_slow or search.trial in claim.paused):
            head = self._left[search.trial]
            head.trial_at, head.pause = now + head.pause, min(2 * head.pause, _LAST_TRIAL)
        if not is_slow:
            for queue in from_head:
                self._slow_in_a_row.pop(queue, None)
                self._left.pop(queue, None)
            return False
        if not from_head:
            self._advance(search.beyond - claim.paused, claim)
            return False
        self._trials_from = now + claim.search_us / 1e6 / _TRIAL_SHARE
        self._slow_in_a_row.update(from_head)
        slow = [
            queue
            for queue in from_head - self._left.keys()
            if self._slow_in_a_row[queue] >= _SLOW_IN_A_ROW
        ]
        for queue in slow:
            places = dict.fromkeys(self._declared.get(queue, ()), _FIRST)
            self._left[queue] = _Left(places, now + _FIRST_TRIAL)
        if slow:
            self._follow(claim.jobs)
            self._advance(slow, claim)
            self._high, self._cycle_began, self._sweep_at = None, None, now
            self.bound = None
        return bool(slow)

    def due_in(self, now: float) -> float:
        """Return the seconds until a sweep is wanted."""
        return max(0.0, self._sweep_at - now) if self.in_use else float("inf")

    @property
    def span(self) -> tuple[int | None, int]:
        """The highest id to look at next (None: the newest there is), and how many below it."""
        return self._high, self._span

    def swept(self, limits: Mapping[str, int], look: Behind, now: float) -> None:
        """Learn from a look behind the cursors for up to ``limits[queue]`` jobs of each queue.

        A few are claimed by their ids. Where there may be more, as after a long transaction or a
        pause, the cursor goes back to the first of them."""
        if look.took_us is None:  # another worker sweeps for us
            self._sweep_at = now + 1.0
            return
        if self._cycle_began is None:
            self._cycle_began = now
        counts = Counter(job.queue for job in look.jobs)
        counts.update({queue: len(left.found) for queue, left in self._left.items()})
        for job in look.jobs:
            head = self._left.get(job.queue)
            if head is None:
                continue  # it is searched from its head again
            if counts[job.queue] < limits[job.queue]:
                head.found[job.id] = None
            else:
                before = (job.run_at, job.id - 1)
                head.places[job.priority] = min(head.places.get(job.priority, before), before)
        self._sweep_at = now + look.took_us / 1e6 / _SHARE
        growth = _SPAN_US / max(look.took_us, 1)
        self._span = int(min(max(self._span * min(growth, 2.0), 1000), 2**40))
        self._high = look.low
        if look.low <= 0:
            self.bound = now - self._cycle_began
            self._high, self._cycle_began = None, None

    def _follow(self, jobs: Sequence[Job]) -> None:
        """Move each cursor behind the last job that was claimed from its band."""
        if not self._left:
            return
        for job in jobs:
            head = self._left.get(job.queue)
            if head is not None:
                place = head.places.get(job.priority, _FIRST)
                head.places[job.priority] = max(place, (job.run_at, job.id))

    def _advance(self, queues: Collection[str], claim: Claimed) -> None:
        """After a slow search: skip what it walked over. A band that was searched to its end is
        entered at the present from now on; not the one of the last job that came, behind which
        there may be more than the claim's bytes had room for."""
        for queue in queues:
            found = [job.priority for job in claim.jobs if job.queue == queue]
            last = max(found, default=_PRIORITIES)
            places = self._left[queue].places if queue in self._left else {}
            for priority, place in places.items():
                if priority < last:
                    places[priority] = max(place, (claim.at, _LAST_ID))


def _is_slow(claim: Claimed) -> bool:
    return claim.search_us > _SLOW_US + _SLOW_US_A_JOB * len(claim.jobs)
