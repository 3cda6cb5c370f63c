"""One queue's share of a worker: its slots, the jobs waiting for one, and how long they take."""

from collections import deque
from dataclasses import dataclass, field

from pgqueue.worker.holdings import Hold

AHEAD_SECONDS = 0.075
"""Jobs are claimed ahead for about this long: a round trip's worth, not a stock."""
AHEAD_BYTES = 16 * 1024 * 1024
_STOCK = 0.75
_WEIGHT = 0.05


@dataclass(slots=True)
class Lane:
    """The slots of one queue and what waits for them."""

    queue: str
    slots: int
    prefetch: int
    running: int = 0
    stuck: int = 0
    """Slots taken by threads that outlived their timeout."""
    waiting: deque[Hold] = field(default_factory=deque)
    _seconds: float | None = None
    _bytes: int = 0
    """Of the arguments that wait."""

    @property
    def has_room(self) -> bool:
        return self.running < self.slots

    def bytes_left(self, coming: int = 0) -> int:
        """Return how many bytes of arguments may be claimed, at most half of all; whatever it is,
        one job may be. *coming*: so many may be on their way already."""
        return max(min(AHEAD_BYTES // 2, AHEAD_BYTES - self._bytes - coming), 0)

    def put(self, hold: Hold) -> None:
        """Have *hold* wait for a slot."""
        self.waiting.append(hold)
        self._bytes += len(hold.job.args)

    def take(self) -> Hold:
        """Return the one that has waited longest."""
        hold = self.waiting.popleft()
        self._bytes -= len(hold.job.args)
        return hold

    def wants(self, coming: int = 0) -> int:
        """Return how many more jobs to claim: the free slots, and short jobs ahead of them.
        *coming*: so many were claimed already and are not here yet.

        Nothing while most of what is wanted ahead is still here, and half of all that may be held
        at once: so one half runs while the other is claimed.
        """
        ahead = self._ahead()
        stock = len(self.waiting) + coming
        if ahead and (stock > ahead * _STOCK or self._bytes > AHEAD_BYTES // 2):
            return 0
        free = self.slots - self.running
        half = (self.slots + ahead) // 2
        return max(min(free + ahead - stock, max(free - stock, half)), 0)

    def learn(self, seconds: float) -> None:
        """Take note of how long a job ran."""
        if self._seconds is None:
            self._seconds = seconds
        else:
            self._seconds += _WEIGHT * (seconds - self._seconds)

    def _ahead(self) -> int:
        if self._seconds is None or self._seconds > AHEAD_SECONDS:
            return 0
        return int(min(self.prefetch, self.slots * AHEAD_SECONDS / max(self._seconds, 1e-6)))
