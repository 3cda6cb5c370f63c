"""Whether a failed job is tried again, and when. Knows no clock and no database."""

import logging
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from pgqueue.backoff import Backoff, Exponential
from pgqueue.errors import InvalidOption
from pgqueue.job import Reason
from pgqueue.options import Seconds, milliseconds
from pgqueue.signals import Retry

log = logging.getLogger("pgqueue.policy")


class NetworkError(Exception):
    """Stands in rules for what libraries raise that pgqueue does not import: psycopg, requests,
    httpx, aiohttp."""


_NETWORK_ERRORS_ELSEWHERE = frozenset(
    {
        "psycopg.OperationalError",
        "requests.exceptions.ConnectionError",
        "requests.exceptions.Timeout",
        "httpx.TransportError",
        "aiohttp.client_exceptions.ClientConnectionError",
    }
)

NETWORK_ERRORS: tuple[type[Exception], ...] = (
    ConnectionError,
    TimeoutError,
    socket.gaierror,
    NetworkError,
)
"""What a flaky network raises, for ``retry_on={error: Until(10) for error in NETWORK_ERRORS}``."""


@dataclass(frozen=True)
class Until:
    """Try again until the job ran *attempts* times in all, whatever its ``max_attempts`` says."""

    attempts: int

    def __post_init__(self) -> None:
        if type(self.attempts) is not int or not 1 <= self.attempts <= 1000:
            raise InvalidOption("Until", f"takes 1 to 1000 attempts, not {self.attempts!r}")


@dataclass(frozen=True, init=False)
class After:
    """Try again after this long instead of the backoff's delay, within ``max_attempts``."""

    delay: float

    def __init__(self, delay: Seconds) -> None:
        object.__setattr__(self, "delay", milliseconds(delay, "After") / 1000)


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

    def __post_init__(self) -> None:
        if not callable(self.backoff):
            raise InvalidOption(
                "backoff", f"must be callable, not {self.backoff!r}; try Fixed(...)"
            )
        if self.retry_if is not None and not callable(self.retry_if):
            raise InvalidOption("retry_if", f"must be callable, not {self.retry_if!r}")
        for kind, verdict in self.retry_on.items():
            if not isinstance(kind, type) or not issubclass(kind, BaseException):
                raise InvalidOption("retry_on", f"{kind!r} is no exception class")
            if not _is_verdict(verdict):
                raise InvalidOption("retry_on", f"{verdict!r} for {kind.__name__} is no verdict")

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
            return Again(verdict.delay)
        return Again(self._delay(made))

    def _verdict(self, error: BaseException, made: int) -> Verdict:
        if isinstance(error, Retry):
            return None if error.after is None else After(error.after)
        verdict = self._rule(error)
        if verdict is not None or self.retry_if is None:
            return verdict
        try:
            verdict = self.retry_if(error, made)
        except Exception:
            log.exception("retry_if failed; the defaults decide")
            return None
        if _is_verdict(verdict):
            return verdict
        log.error("retry_if answered a %s, which is no verdict; the defaults decide", type(verdict))
        return None

    def _rule(self, error: BaseException) -> Verdict:
        for each in _causes(error):
            for kind in _kinds(each):
                if kind in self.retry_on:
                    return self.retry_on[kind]
        return None

    def _delay(self, made: int) -> float:
        try:
            # Refuses what is no number of seconds, and what Postgres could not add to a time: one
            # such delay would make the whole batch of outcomes fail that it is written with.
            return milliseconds(self.backoff(made), "backoff") / 1000
        except Exception:
            log.exception("backoff failed; the default decides")
        return Exponential()(made)


def _is_verdict(answer: object) -> bool:
    return answer is None or isinstance(answer, (bool, Until, After))


def _kinds(error: BaseException) -> Iterator[type]:
    """Yield the classes that a rule for *error* may name, the most specific first."""
    for kind in type(error).__mro__:
        yield kind
        if f"{kind.__module__}.{kind.__qualname__}" in _NETWORK_ERRORS_ELSEWHERE:
            yield NetworkError


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield *error*, then what it was raised from, and so on; each once, even in a ring."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__
