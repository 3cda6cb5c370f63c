"""Where the claims of each queue begin while its head is slow to search. Knows no database.

Normally a claim searches from the head of each queue. The head may be slow, whatever the cause:
rows that were claimed there long ago and cannot be cleaned up while somebody holds an old snapshot,
or a crowd of jobs that no worker here knows. Then each band (a priority of that queue) is entered
behind the last job that was claimed from it, and beside the claims (``scout.py``) a *sweep* looks
through the table's pages, from its end down, for what came in behind: in spans of a few
milliseconds, for a twentieth of the time. From time to time such a head is tried again, beside the
claims too; once that is fast, its cursors go.

A claim may be planned before the answer to the last, or to a look, is here: an answer counts from
where its claim began.

Nothing depends on a cursor being right: one that is too far ahead makes the jobs behind it wait for
the sweep, at most ``bound``.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from pgqueue.job import Job
from pgqueue.storage.claiming import Band, Behind, Claimed, Head

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
_SPAN = 300
"""Pages: 3 ms where they are full of jobs that nobody knows, a fifth of it for dead rows."""
_BESIDES_US = 400
"""What a look costs besides, of the worker too."""
_SHARE = 0.05
_RECENT = timedelta(milliseconds=50)
"""A job that was enqueued so long ago may be in a transaction that has not committed yet."""
_FEW = 10
"""So many jobs that a look finds are claimed by their ids, however few the last claim was for."""
_TRIAL_SHARE = 0.02
_FIRST_TRIAL, _LAST_TRIAL = 2.0, 60.0
"""Seconds until a head is tried again. Twice as long each time, until claims from it are fast: what
makes them slow may be something that no trial sees, as rows that others have locked."""


class Search(NamedTuple):
    """Where a claim is to begin."""

    limits: Mapping[str, int]
    """How many jobs of each queue it is for, those that were found included."""
    from_head: frozenset[str]
    """The queues that are searched from their heads."""
    beyond: Mapping[str, Mapping[int, Place]]
    """Those that are entered at their cursors, and where these are."""
    found: Mapping[str, Set[int]]
    """Jobs behind the cursors, to be claimed by their ids."""


class Trial(NamedTuple):
    """A search of a head that was left, to see whether it is fast again."""

    at: float
    """When it is due, by the boot clock."""
    queue: str
    limit: int
    """How many jobs to search for: as many as the last claim."""


class Sweep(NamedTuple):
    """A look behind the cursors."""

    limits: Mapping[str, int]
    """How many jobs of each queue it looks for."""
    cycle: int
    """Which time through the table it belongs to."""
    high: int | None
    """The page below which it looks (None: the table's end)."""
    size: int
    """And how many pages."""


@dataclass(slots=True)
class _Left:
    """A queue whose head was left."""

    places: dict[int, Place]
    """By priority."""
    trial_at: float
    limit: int
    """How many jobs the last claim was for."""
    found: dict[int, None] = field(default_factory=dict)
    """Jobs that the sweep found behind the places, for the next claim."""

    def follow(self, job: Job, began: Place) -> None:
        """Move the cursor behind a *job* that came of a claim that began there. If the cursor has
        gone back since, that claim knows nothing of what lies between."""
        place = self.places.get(job.priority, _FIRST)
        if began <= place:
            self.places[job.priority] = max(place, (job.run_at, job.id))

    def take(self, most: int) -> Set[int]:
        """Return some of what was found."""
        taken = set(list(self.found)[:most])
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
        self._pauses: dict[str, float] = {}
        """Seconds to the next trial of each head that was left since claims from it were fast."""
        self._cycle = 0
        self._high: int | None = None
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

    def search(self, limits: Mapping[str, int]) -> Search:
        """Return where to begin the next claim, of up to ``limits[queue]`` jobs of each queue."""
        left = {queue: self._left[queue] for queue in limits if queue in self._left}
        beyond = {queue: dict(head.places) for queue, head in left.items()}
        found = {queue: head.take(limits[queue]) for queue, head in left.items()}
        for queue, head in left.items():
            head.limit = limits[queue]
        return Search(limits, frozenset(limits) - beyond.keys(), beyond, found)

    @staticmethod
    def bands(search: Search) -> list[tuple[Band, int]]:
        """Return where to enter each band of the queues, and the priority at which it ends. A queue
        that is searched from its head is one band. Of the others those priorities are left out that
        nobody has seen: there may be nothing but dead rows. The sweep finds what comes."""
        bands = [(Band(queue, -1, *_FIRST), _PRIORITIES) for queue in sorted(search.from_head)]
        for queue, places in sorted(search.beyond.items()):
            for priority, place in sorted(places.items()):
                bands.append((Band(queue, priority, *place), priority + 1))
        return bands

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
        self._follow(search, claim.jobs)
        from_head = search.from_head - claim.paused - self._left.keys()
        if not _is_slow(len(claim.jobs), claim.search_us):
            for queue in from_head:
                self._slow_in_a_row.pop(queue, None)
                self._pauses.pop(queue, None)
            return False
        if not from_head:
            self._advance(search.beyond.keys() - claim.paused, search, claim)
            return False
        self._slow_in_a_row.update(from_head)
        slow = [queue for queue in from_head if self._slow_in_a_row[queue] >= _SLOW_IN_A_ROW]
        for queue in slow:
            places = dict.fromkeys(self._declared.get(queue, ()), _FIRST)
            self._left[queue] = _Left(places, now + self._pause(queue), search.limits[queue])
        if slow:
            self._follow(search, claim.jobs)
            self._advance(slow, search, claim)
            self._begin_cycle()
            self._sweep_at, self.bound = now, None
        return bool(slow)

    def next_trial(self) -> Trial | None:
        """Return which head is to be tried next."""
        return min(
            (Trial(head.trial_at, queue, head.limit) for queue, head in self._left.items()),
            default=None,
        )

    def tried(self, queue: str, head: Head, now: float) -> None:
        """Learn how long a search of the head of *queue* took."""
        if _is_slow(head.found, head.search_us):
            pause = max(self._pause(queue), head.search_us / 1e6 / _TRIAL_SHARE)
            self._left[queue].trial_at = now + pause
        else:
            del self._left[queue], self._slow_in_a_row[queue]

    def give_up(self) -> None:
        """Nobody can look behind the cursors: search from the heads again, however slow."""
        self._left.clear()
        self._slow_in_a_row.clear()

    def due_in(self, now: float) -> float:
        """Return the seconds until a sweep is wanted."""
        return max(0.0, self._sweep_at - now) if self.in_use else float("inf")

    def sweep(self) -> Sweep:
        """Return where to look behind the cursors next."""
        limits = {queue: max(head.limit, _FEW) for queue, head in self._left.items()}
        return Sweep(limits, self._cycle, self._high, _SPAN)

    def swept(self, sweep: Sweep, look: Behind, now: float) -> bool:
        """Learn from a look behind the cursors; return whether it found something new to claim.

        A few are claimed by their ids. Where there may be more, as after a long transaction or a
        pause, the cursor goes back to the first of them."""
        if look.took_us is None:  # another worker sweeps for us
            self._sweep_at = now + 1.0
            return False
        counts = Counter({queue: len(head.found) for queue, head in self._left.items()})
        new = [
            (job, self._left[job.queue])
            for job in look.jobs  # of other queues the heads are searched again
            if job.queue in self._left and job.id not in self._left[job.queue].found
        ]
        counts.update(job.queue for job, _ in new)
        for job, head in new:
            if counts[job.queue] < sweep.limits[job.queue]:
                head.found[job.id] = None
                head.places.setdefault(job.priority, (job.run_at, job.id))
            else:
                before = (job.run_at, job.id - 1)
                head.places[job.priority] = min(head.places.get(job.priority, before), before)
        self._sweep_at = now + (look.took_us + _BESIDES_US) / 1e6 / _SHARE
        if sweep.cycle == self._cycle:  # or another head was left since, and it begins anew
            self._follow_sweep(look, now)
        return bool(new)

    def _pause(self, queue: str) -> float:
        """Seconds until the next trial, and twice as long until the one after it."""
        pause = self._pauses.get(queue, _FIRST_TRIAL)
        self._pauses[queue] = min(2 * pause, _LAST_TRIAL)
        return pause

    def _follow_sweep(self, look: Behind, now: float) -> None:
        if self._cycle_began is None:
            self._cycle_began = now
        self._high = look.low
        if look.low <= 0:
            self.bound = self._sweep_at - self._cycle_began
            self._begin_cycle()

    def _begin_cycle(self) -> None:
        self._cycle += 1
        self._high, self._cycle_began = None, None

    def _follow(self, search: Search, jobs: Sequence[Job]) -> None:
        """Move each cursor behind the last job that was claimed from its band. Those that were
        claimed by their ids say nothing of it."""
        if not self._left:
            return
        for job in jobs:
            head = self._left.get(job.queue)
            if head is not None and job.id not in search.found.get(job.queue, ()):
                head.follow(job, _began(search, job.queue, job.priority))

    def _advance(self, queues: Collection[str], search: Search, claim: Claimed) -> None:
        """After a slow search: skip what it walked over. A band that was searched to its end is
        entered at the present from now on, or a little before it; not the one of the last job that
        came, behind which there may be more than the claim's bytes had room for."""
        present = (claim.at - _RECENT, _LAST_ID)
        for queue in queues:
            found = search.found.get(queue, frozenset())
            if len(found) >= search.limits[queue]:
                continue  # no band was searched
            priorities = [
                job.priority for job in claim.jobs if job.queue == queue and job.id not in found
            ]
            last = max(priorities, default=_PRIORITIES)
            places = self._left[queue].places if queue in self._left else {}
            for priority, place in places.items():
                if priority < last and _began(search, queue, priority) <= place:
                    places[priority] = max(place, present)


def _began(search: Search, queue: str, priority: int) -> Place:
    """Where a claim entered the band of jobs of this *priority*."""
    return search.beyond.get(queue, {}).get(priority, _FIRST)


def _is_slow(jobs: int, search_us: int) -> bool:
    """Whether a search that found so many *jobs* took too long."""
    return search_us > _SLOW_US + _SLOW_US_A_JOB * jobs
