"""Decides what to claim next: for which queues, how many, and when suspects have their turn."""

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from enum import Enum

from pgqueue.job import Job
from pgqueue.worker.clock import boottime
from pgqueue.worker.crew import Crew

FEW = 10
"""So many jobs that may have crashed a worker once are tried beside each other."""
_LOOK_EVERY = 1.0
_SOON = 0.1
_PATIENCE = 2.0


class Mode(Enum):
    """What a worker is claiming."""

    NORMAL = "whatever is next"
    DRAINING = "nothing, until the hands are empty"
    APART = "nothing, while suspects run with nothing beside them"


class Claimer:
    """The next claim of a worker.

    Suspects run with nothing beside them. To get there the worker stops claiming and lets its hands
    become empty, for ``patience`` at most; between two tries it works normally for as long, so that
    neither suspects nor the rest can starve the other. Patience doubles while long jobs outlast it.
    """

    def __init__(self, crew: Crew) -> None:
        self.mode = Mode.NORMAL
        self._crew = crew
        self._order = deque(crew.lanes)
        self._patience = _PATIENCE
        self._since = 0.0
        self._look_at = 0.0
        self._normal_until = 0.0

    @property
    def queues(self) -> Sequence[str]:
        return list(self._order)

    def limits(self) -> dict[str, int]:
        """Return how many jobs to claim of each queue; the order of the queues rotates."""
        if self.mode is not Mode.NORMAL:
            return {}
        self._order.rotate(-1)
        wanted = {queue: self._crew.lanes[queue].wants() for queue in self._order}
        return {queue: wants for queue, wants in wanted.items() if wants}

    def bytes_left(self) -> dict[str, int]:
        """Return how many bytes of arguments there is room for, by queue."""
        return {queue: lane.bytes_left for queue, lane in self._crew.lanes.items()}

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
