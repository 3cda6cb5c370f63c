"""Where the claims of each queue begin while its head is slow to search. Knows no database.

Normally a claim searches from the head of each queue. The head may be slow, whatever the cause:
rows that were claimed there long ago and cannot be cleaned up while somebody holds an old snapshot,
or a crowd of jobs that no worker here knows. Then each band (a priority of a queue) is entered
behind the last job that was claimed from it, and beside the claims a *sweep* looks through the ids,
from the newest down, for what came in behind: in spans sized to some milliseconds, for a tenth of
the time. From time to time a claim searches from the head again; once that is fast, the cursors go.

Nothing depends on a cursor being right: one that is too far ahead makes the jobs behind it wait for
the sweep, at most ``bound``.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from pgqueue.job import Job
from pgqueue.storage.claiming import Band, Behind, Claimed

_START = datetime.min.replace(tzinfo=UTC)
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
"""Seconds until the head is searched again. Twice as long each time: a job that comes in meanwhile
waits for a search that is slow."""


class Cursors:
    """Decides where claims begin. *priorities*: those that are known of each queue beforehand."""

    def __init__(self, priorities: Mapping[str, Sequence[int]]) -> None:
        self._declared = {queue: tuple(known) for queue, known in priorities.items()}
        self._bands: dict[str, dict[int, tuple[datetime, int]]] = {}
        self._slow_in_a_row: Counter[str] = Counter()
        """How many of the last searches were slow, by queue: one that is fast says nothing of the
        others."""
        self._trial_at = 0.0
        self._trial_pause = _FIRST_TRIAL
        self._high: int | None = None
        self._span = _SPAN
        self._sweep_at = 0.0
        self._cycle_began: float | None = None
        self.found: list[int] = []
        """Jobs that the sweep found behind the cursors, for the next claim."""
        self.bound: float | None = None
        """Seconds that the last whole sweep took: so long a job behind a cursor waits at most."""

    @property
    def in_use(self) -> bool:
        """Whether claims begin at cursors, now."""
        return bool(self._bands)

    def from_head(self, now: float) -> bool:
        """Whether the next claim is to search from the head: always, or to see if it is fast."""
        return not self.in_use or now >= self._trial_at

    def bands(self, queues: Sequence[str]) -> list[tuple[Band, int]]:
        """Return where to enter each band of *queues*, and the priority at which it ends.

        The first of a queue has no cursor: it is for priorities that nobody has seen yet."""
        found = []
        for queue in queues:
            places = self._bands.get(queue, {})
            starts = [(-1, (_START, 0)), *sorted(places.items())]
            ends = [priority for priority, _ in starts[1:]] + [_PRIORITIES]
            for (priority, (run_at, job_id)), below in zip(starts, ends, strict=True):
                found.append((Band(queue, priority, run_at, job_id), below))
        return found

    def places(self) -> list[Band]:
        """Return the cursors themselves."""
        return [
            Band(queue, priority, *place)
            for queue, places in self._bands.items()
            for priority, place in places.items()
        ]

    def searched(self, limits: Mapping[str, int], claim: Claimed, now: float) -> bool:
        """Learn from a claim that searched from the head; return whether cursors are new."""
        if not _is_slow(claim):
            for queue in limits:
                self._slow_in_a_row.pop(queue, None)
                self._bands.pop(queue, None)
            if not self.in_use:
                self._trial_pause = _FIRST_TRIAL
            return False
        self._slow_in_a_row.update(limits.keys())
        self._trial_at = now + max(self._trial_pause, claim.search_us / 1e6 / _TRIAL_SHARE)
        if self.in_use:
            self._trial_pause = min(2 * self._trial_pause, _LAST_TRIAL)
        left = [queue for queue in limits if self._slow_in_a_row[queue] >= _SLOW_IN_A_ROW]
        if self._bands.keys() >= set(left):
            return False
        for queue in left:
            self._begin(queue)
        self._advance(limits, claim)
        self._high, self._cycle_began, self._sweep_at = None, None, now
        self.bound = None
        return True

    def searched_beyond(self, limits: Mapping[str, int], claim: Claimed) -> None:
        """Learn from a claim that began at the cursors."""
        self.found.clear()
        for queue in limits:
            self._begin(queue)
        if _is_slow(claim):
            self._advance(limits, claim)
        else:
            self._follow(claim.jobs)

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
        for job in look.jobs:
            places = self._bands.get(job.queue)
            if places is None or counts[job.queue] < limits[job.queue]:
                self.found.append(job.id)
            else:
                before = (job.run_at, job.id - 1)
                places[job.priority] = min(places.get(job.priority, before), before)
        self._sweep_at = now + look.took_us / 1e6 / _SHARE
        growth = _SPAN_US / max(look.took_us, 1)
        self._span = int(min(max(self._span * min(growth, 2.0), 1000), 2**40))
        self._high = look.low
        if look.low <= 0:
            self.bound = now - self._cycle_began
            self._high, self._cycle_began = None, None

    def _begin(self, queue: str) -> None:
        """Have cursors in *queue*, if there are none: before the first job of each priority."""
        self._bands.setdefault(queue, dict.fromkeys(self._declared.get(queue, ()), (_START, 0)))

    def _follow(self, jobs: Sequence[Job]) -> None:
        """Move each cursor behind the last job that was claimed from its band."""
        for job in jobs:
            places = self._bands.get(job.queue)
            if places is not None:
                place = places.get(job.priority, (_START, 0))
                places[job.priority] = max(place, (job.run_at, job.id))

    def _advance(self, limits: Mapping[str, int], claim: Claimed) -> None:
        """After a slow search: skip what it walked over. A band that was searched to its end is
        entered at the present from now on; not the one of the last job that came, behind which
        there may be more than the claim's bytes had room for."""
        self._follow(claim.jobs)
        for queue in limits:
            found = [job.priority for job in claim.jobs if job.queue == queue]
            last = max(found, default=_PRIORITIES)
            places = self._bands.get(queue, {})
            for priority, place in places.items():
                if priority < last:
                    places[priority] = max(place, (claim.at, _LAST_ID))


def _is_slow(claim: Claimed) -> bool:
    return claim.search_us > _SLOW_US + _SLOW_US_A_JOB * len(claim.jobs)
