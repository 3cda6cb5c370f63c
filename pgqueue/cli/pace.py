"""So many a second and not more, in steps that are small enough to be even."""

import math
import time
from collections.abc import Callable

STEPS_A_SECOND = 4


class Pace:
    """Says how many may be done next, and sleeps until they may.

    What was done never runs ahead of the rate by more than one step, a quarter of a second's worth.
    *rate*: jobs a second; None: as fast as it goes.
    """

    def __init__(
        self,
        rate: float | None,
        most: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rate = rate
        self._step = most if rate is None else min(most, math.ceil(rate / STEPS_A_SECOND))
        self._clock = clock
        self._sleep = sleep
        self._begun = clock()

    def next_step(self, done: int) -> int:
        """How many the next step may take, *done* being done so far; sleeps as long as it must."""
        if self._rate is not None:
            wait = self._begun + done / self._rate - self._clock()
            if wait > 0:
                self._sleep(wait)
        return self._step
