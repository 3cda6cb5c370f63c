"""Decides what to claim next: of which queues, how many, from where, and when suspects have their
turn."""

from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple

from pgqueue.job import Job
from pgqueue.storage import claiming
from pgqueue.storage.operation import Operation, Row, Statement
from pgqueue.tasks import Tasks
from pgqueue.worker.clock import boottime
from pgqueue.worker.crew import Crew
from pgqueue.worker.cursors import Cursors, Search

FEW = 10
"""So many jobs that may have crashed a worker once are tried beside each other."""
_DEFAULT_PRIORITY = 100
_LOOK_EVERY = 1.0
_SOON = 0.1
_PATIENCE = 2.0
_LATELY = 10.0
"""Seconds for which it is worth while to look behind cursors after a claim that began at them."""


class Mode(Enum):
    """What a worker is claiming."""

    NORMAL = "whatever is next"
    DRAINING = "nothing, until the hands are empty"
    APART = "nothing, while suspects run with nothing beside them"


class Claim(NamedTuple):
    """A claim that is to be sent."""

    limits: Mapping[str, int]
    bytes_left: Mapping[str, int]
    """How many bytes of arguments it may bring, by queue."""
    statement: Statement
    search: Search


class Claimer:
    """The next claim of a worker.

    Suspects run with nothing beside them. To get there the worker stops claiming and lets its hands
    become empty, for ``patience`` at most; between two tries it works normally for as long, so that
    neither suspects nor the rest can starve the other. Patience doubles while long jobs outlast it.
    """

    def __init__(self, crew: Crew, *, worker_id: str, tasks: Tasks, lease: timedelta) -> None:
        self.mode = Mode.NORMAL
        self._crew = crew
        self._worker_id = worker_id
        self._tasks = tasks.names
        self._lease = lease
        self.cursors = Cursors({queue: _priorities(tasks) for queue in crew.lanes})
        self.now: datetime | None = None
        """What time it was by the database's clock at the last claim."""
        self._wanting: Collection[str] = ()
        """The queues that have room for more jobs."""
        self._went_past_at = float("-inf")
        """When a claim last began at cursors."""
        self.on_slow: Callable[[], None] = lambda: None
        """Called when the head of a queue has become slow, and is left."""
        self._order = deque(crew.lanes)
        self._patience = _PATIENCE
        self._since = 0.0
        self._look_at = 0.0
        self._normal_until = 0.0

    @property
    def queues(self) -> Sequence[str]:
        return list(self._order)

    def limits(self, coming: Mapping[str, int] = MappingProxyType({})) -> dict[str, int]:
        """Return how many jobs to claim of each queue; the order of the queues rotates. *coming*:
        so many were claimed already and are not here yet."""
        self._wanting = ()
        if self.mode is not Mode.NORMAL:
            return {}
        self._order.rotate(-1)
        lanes = self._crew.lanes
        wanted = {queue: lanes[queue].wants(coming.get(queue, 0)) for queue in self._order}
        limits = {queue: wants for queue, wants in wanted.items() if wants}
        self._wanting = limits.keys()
        return limits

    def claim(
        self, limits: Mapping[str, int], coming: Mapping[str, int] = MappingProxyType({})
    ) -> Claim:
        """Return the next claim. *coming*: so many bytes may be on their way already, by queue."""
        search = self.cursors.search(limits)
        bytes_left = {
            queue: self._crew.lanes[queue].bytes_left(coming.get(queue, 0)) for queue in limits
        }
        if not search.beyond:
            claim = claiming.claim(
                worker_id=self._worker_id,
                limits=limits,
                tasks=self._tasks,
                lease=self._lease,
                bytes_left=bytes_left,
            )
        else:
            self._went_past_at = boottime()
            found = {queue: ids for queue, ids in search.found.items() if ids}
            halves = {queue: bytes_left[queue] // 2 for queue in found}
            claim = claiming.claim_beyond(
                worker_id=self._worker_id,
                limits={queue: most - len(found.get(queue, ())) for queue, most in limits.items()},
                tasks=self._tasks,
                lease=self._lease,
                bands=self.cursors.bands(search),
                found=[job_id for ids in found.values() for job_id in ids],
                found_bytes=sum(halves.values()),
                bytes_left={**bytes_left, **halves},
            )
        return Claim(limits, bytes_left, next(claim), search)

    @property
    def wants_found(self) -> bool:
        """Whether there is room for jobs of a queue that has cursors, or was lately: each slot that
        comes free is taken at once while there are jobs ahead of the cursors."""
        was_lately = boottime() - self._went_past_at < _LATELY
        return was_lately or any(queue in self.cursors.queues for queue in self._wanting)

    def claimed(self, claim: Claim, answer: list[Row]) -> list[Job]:
        """Take what *claim* came to; return the jobs."""
        came = claiming.claimed(answer)
        self.now = came.at
        if self.cursors.searched(claim.search, came, boottime()):
            self.on_slow()
        return came.jobs

    def claim_suspects(self) -> Operation[list[Job]]:
        """Lease suspects, which are to run with nothing beside them."""
        return claiming.claim_suspects(
            worker_id=self._worker_id,
            queues=self.queues,
            tasks=self._tasks,
            lease=self._lease,
            few=FEW,
        )

    def find_suspects(self) -> Statement:
        """Return the statement that asks whether suspects wait."""
        return next(claiming.find_suspects(queues=self.queues, tasks=self._tasks))

    def short_of(self, limits: Mapping[str, int], claimed: Sequence[Job]) -> set[str]:
        """Return the queues that had fewer jobs than are wanted still, now that *claimed* are
        here."""
        counts = Counter(job.queue for job in claimed)
        return {
            queue
            for queue, limit in limits.items()
            if counts[queue] < limit and self._crew.lanes[queue].wants()
        }

    def wants_look(self) -> bool:
        """Whether it is time to ask if suspects wait."""
        return self.mode is Mode.NORMAL and boottime() >= max(self._look_at, self._normal_until)

    def look_soon(self) -> None:
        """Somebody rang: it may have been a rescuer."""
        self._look_at = min(self._look_at, self._since + _SOON)

    def looked(self, found: bool) -> None:
        """Take note of whether suspects wait; if so, begin to empty the hands."""
        self._since = boottime()
        self._look_at = self._since + _LOOK_EVERY
        if found:
            self.mode = Mode.DRAINING

    def emptied(self) -> bool:
        """The hands are empty. Return whether to claim suspects now."""
        if self.mode is Mode.APART:
            self._resume()
            self._look_at = self._normal_until  # there may be more of them
        return self.mode is Mode.DRAINING

    def claimed_apart(self, found: bool) -> None:
        """Suspects were claimed, or none could be had."""
        self._patience = _PATIENCE
        if found:
            self.mode, self._since = Mode.APART, boottime()
        else:
            self._resume()  # they are locked, or another worker was sooner

    def lose_patience(self) -> None:
        """Work normally for a while if long jobs keep the hands from becoming empty."""
        if self.mode is Mode.DRAINING and boottime() - self._since > self._patience:
            self._resume()
            self._patience *= 2

    def _resume(self) -> None:
        now = boottime()
        self.mode = Mode.NORMAL
        self._normal_until = now + (now - self._since)


def _priorities(tasks: Tasks) -> list[int]:
    """The priorities that jobs probably have: those that tasks declare, and the default."""
    declared = {task.defaults.priority for task in tasks}
    return [priority for priority in {*declared, _DEFAULT_PRIORITY} if priority is not None]
