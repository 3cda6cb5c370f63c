"""How long to wait before the next attempt.

A backoff is anything callable with the number of failures so far (1 after the first) that returns
seconds. These are frozen values; a plain function will do as well.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pgqueue.errors import InvalidOption
from pgqueue.options import Seconds, milliseconds

Backoff = Callable[[int], float]


@dataclass(frozen=True, init=False)
class Fixed:
    """The same *delay* each time.

    >>> Fixed(10)(3)
    10.0
    """

    delay: float

    def __init__(self, delay: Seconds) -> None:
        object.__setattr__(self, "delay", _seconds(delay, "delay"))

    def __call__(self, failures: int) -> float:
        return self.delay


@dataclass(frozen=True, init=False)
class Linear:
    """*step* more each time, at most *max_delay*, by default an hour.

    >>> [Linear(step=5, max_delay=12)(n) for n in (1, 2, 3)]
    [5.0, 10.0, 12.0]
    """

    step: float
    max_delay: float

    def __init__(self, step: Seconds, max_delay: Seconds = 3600) -> None:
        object.__setattr__(self, "step", _seconds(step, "step"))
        object.__setattr__(self, "max_delay", _seconds(max_delay, "max_delay"))

    def __call__(self, failures: int) -> float:
        return min(self.step * failures, self.max_delay)


@dataclass(frozen=True, init=False)
class Exponential:
    """``base * 2 ** (failures - 1)`` seconds, at most *max_delay*; the doubling is BullMQ's.

    *jitter* is the part of the delay that is drawn at random, after the cap: the result lies in
    ``[delay * (1 - jitter), delay]``, so that jobs which failed together do not return together.

    >>> [Exponential(base=2, max_delay=60, jitter=0)(n) for n in (1, 2, 3, 6, 1000)]
    [2.0, 4.0, 8.0, 60.0, 60.0]
    """

    base: float
    max_delay: float
    jitter: float

    def __init__(self, base: Seconds = 2, max_delay: Seconds = 60, jitter: float = 0.1) -> None:
        object.__setattr__(self, "base", _seconds(base, "base"))
        object.__setattr__(self, "max_delay", _seconds(max_delay, "max_delay"))
        if isinstance(jitter, bool) or not isinstance(jitter, (int, float)) or not 0 <= jitter <= 1:
            raise InvalidOption("jitter", f"must be a number from 0 to 1, not {jitter!r}")
        object.__setattr__(self, "jitter", float(jitter))

    def __call__(self, failures: int) -> float:
        # A millisecond doubled 60 times is past every cap: larger powers would only overflow.
        delay = min(self.base * 2.0 ** min(failures - 1, 60), self.max_delay)
        return delay * (1 - self.jitter * random.random())


@dataclass(frozen=True, init=False)
class Delays:
    """An explicit list; its last entry stands for all that follow.

    >>> [Delays([1, 5, 30])(n) for n in (1, 2, 3, 4)]
    [1.0, 5.0, 30.0, 30.0]
    """

    delays: tuple[float, ...]

    def __init__(self, delays: Sequence[Seconds]) -> None:
        if not delays:
            raise InvalidOption("delays", "give at least one")
        object.__setattr__(self, "delays", tuple(_seconds(each, "delays") for each in delays))

    def __call__(self, failures: int) -> float:
        return self.delays[min(failures, len(self.delays)) - 1]


def _seconds(value: Seconds, name: str) -> float:
    return milliseconds(value, name) / 1000
