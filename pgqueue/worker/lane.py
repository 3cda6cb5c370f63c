"""One queue's share of a worker: its slots, the jobs waiting for one, and how long they take."""

from collections import deque
from dataclasses import dataclass, field

from pgqueue.worker.holdings import Hold

AHEAD_SECONDS = 0.075
"""Jobs are claimed ahead for about this long: a round trip's worth, not a stock."""
AHEAD_BYTES = 16 * 1024 * 1024
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
    _bytes: float = 0.0

    @property
    def has_room(self) -> bool:
        return self.running < self.slots

    def wants(self) -> int:
        """Return how many more jobs to claim: the free slots, and short jobs ahead of them.

        Nothing while more than half of what is wanted is still here: few large claims.
        """
        ahead = self._ahead()
        missing = self.slots + ahead - self.running - len(self.waiting)
        if ahead and len(self.waiting) > ahead // 2:
            return 0
        return max(missing, 0)

    def learn(self, seconds: float, size: int) -> None:
        """Take note of how long a job ran and how large its arguments were."""
        if self._seconds is None:
            self._seconds, self._bytes = seconds, float(size)
        else:
            self._seconds += _WEIGHT * (seconds - self._seconds)
            self._bytes += _WEIGHT * (size - self._bytes)

    def _ahead(self) -> int:
        if self._seconds is None or self._seconds > AHEAD_SECONDS:
            return 0
        by_time = self.slots * AHEAD_SECONDS / max(self._seconds, 1e-6)
        by_size = AHEAD_BYTES / max(self._bytes, 1.0)
        return int(min(self.prefetch, by_time, by_size))
