"""Whether a failed job is tried again, and when. Pure: the answer depends on the arguments
alone."""

import logging
import math
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from pgqueue.backoff import Backoff, Exponential
from pgqueue.errors import InvalidOption
from pgqueue.job import Reason
from pgqueue.options import Seconds, milliseconds
from pgqueue.signals import Retry

log = logging.getLogger("pgqueue.retry")

NETWORK_ERRORS = (ConnectionError, TimeoutError, socket.gaierror)
"""What a flaky network raises, for ``retry_on={error: Until(10) for error in NETWORK_ERRORS}``."""


@dataclass(frozen=True)
class Until:
    """Try again until the job ran *attempts* times in all, whatever its ``max_attempts`` says."""

    attempts: int

    def __post_init__(self) -> None:
        if isinstance(self.attempts, bool) or not 1 <= self.attempts <= 1000:
            raise InvalidOption("Until", f"takes 1 to 1000 attempts, not {self.attempts!r}")


@dataclass(frozen=True)
class After:
    """Try again after this long instead of the backoff's delay, within ``max_attempts``."""

    delay: Seconds

    def __post_init__(self) -> None:
        object.__setattr__(self, "delay", milliseconds(self.delay, "After") / 1000)


Verdict = bool | None | Until | After
"""``False``: dead now · ``True``: within max_attempts · Until, After · ``None``: no opinion."""


class Again(NamedTuple):
    """Try again after *delay* seconds."""

    delay: float


class GiveUp(NamedTuple):
    """The job is dead."""

    reason: Reason


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How a task's failures are judged.

    A rule for the error's type comes first (the most specific class; if the error has none, its
    causes are asked), then *retry_if* with the error and the number of attempts made, then
    ``max_attempts``. A judge that raises, or answers something that is no verdict, has no opinion.
    """

    backoff: Backoff = field(default_factory=Exponential)
    retry_on: Mapping[type[BaseException], Verdict] = field(default_factory=dict)
    retry_if: Callable[[BaseException, int], Verdict] | None = None

    def decide(self, error: BaseException, *, failures: int, max_attempts: int) -> Again | GiveUp:
        """Return what becomes of a job that failed with *error* after *failures* earlier
        failures."""
        made = failures + 1
        verdict = self._verdict(error, made)
        if verdict is False:
            return GiveUp(Reason.NON_RETRYABLE)
        limit = verdict.attempts if isinstance(verdict, Until) else max_attempts
        if made >= limit:
            return GiveUp(Reason.ATTEMPTS_EXHAUSTED)
        if isinstance(verdict, After):
            assert isinstance(verdict.delay, float)
            return Again(verdict.delay)
        return Again(self._delay(made))

    def _verdict(self, error: BaseException, made: int) -> Verdict:
        if isinstance(error, Retry):
            return None if error.after is None else After(error.after)
        verdict = self._rule(error)
        if verdict is None and self.retry_if is not None:
            try:
                verdict = self.retry_if(error, made)
            except Exception:
                log.exception("retry_if failed; the defaults decide")
        if verdict is None or isinstance(verdict, (bool, Until, After)):
            return verdict
        log.error("retry_if answered %r, which is no verdict; the defaults decide", verdict)
        return None

    def _rule(self, error: BaseException) -> Verdict:
        for each in _causes(error):
            for kind in type(each).__mro__:
                if kind in self.retry_on:
                    return self.retry_on[kind]
        return None

    def _delay(self, made: int) -> float:
        try:
            delay = float(self.backoff(made))
            if math.isfinite(delay) and delay >= 0:
                return delay
            log.error("backoff answered %r seconds; the default decides", delay)
        except Exception:
            log.exception("backoff failed; the default decides")
        return Exponential()(made)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, then what it was raised from, without end only if there is one."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__
