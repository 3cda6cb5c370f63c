"""What the test kit answers: jobs that were enqueued, and attempts that were run."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pgqueue.job import State


@dataclass(frozen=True, slots=True, kw_only=True)
class EnqueuedJob:
    """A job that was enqueued, whatever has become of it since."""

    id: int
    task: str
    args: Mapping[str, Any]
    """Decoded: by its task, where one was given."""
    queue: str
    state: State
    priority: int
    attempt: int
    """How often it was claimed."""
    max_attempts: int
    created_at: datetime
    run_at: datetime
    key: str | None
    actor: str | None
    metadata: Mapping[str, Any]
    scheduled_for: datetime | None
    """The tick that made it, if a schedule did."""
    batch_id: int | None

    @property
    def delay(self) -> float:
        """Seconds from its enqueue until it is due, for the first time or again."""
        return max((self.run_at - self.created_at).total_seconds(), 0.0)

    def __str__(self) -> str:
        later = f", due after {self.delay:g} s" if self.state is State.SCHEDULED else ""
        return f"{self.task}[{self.id}] {dict(self.args)} (queue {self.queue}, {self.state}{later})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """An attempt that was run by a drain."""

    id: int
    """The job's."""
    task: str
    queue: str
    attempt: int
    at: datetime
    """When it was run, by the test's clock."""
    outcome: str
    """``succeeded``, ``retried``, ``dead``, ``cancelled``, ``snoozed`` or ``lost``."""
    result: Any = None
    """As the handler returned it, through JSON and back."""
    error: BaseException | None = None
    """What the handler raised; None also if it was ended, by its timeout for example."""
    failure: str | None = None
    """What is kept of an attempt that failed: type and text."""
    reason: str | None = None
    """Why the job is dead."""
    delay: float | None = None
    """Seconds until it is run again, if it is."""

    def __str__(self) -> str:
        said = "" if self.failure is None else f": {self.failure}"
        return f"{self.task}[{self.id}] attempt {self.attempt} {self.outcome}{said}"


@dataclass(frozen=True, slots=True)
class Drained:
    """What a drain has done: the attempts, in the order in which they were run."""

    attempts: list[Attempt]
    now: datetime | None = None
    """Where the clock stands, if it was stopped."""

    def __len__(self) -> int:
        return len(self.attempts)

    def of(self, outcome: str) -> list[Attempt]:
        """The attempts that came to *outcome*."""
        return [attempt for attempt in self.attempts if attempt.outcome == outcome]

    @property
    def succeeded(self) -> int:
        return len(self.of("succeeded"))

    @property
    def retried(self) -> int:
        """How many attempts failed and were put back."""
        return len(self.of("retried"))

    @property
    def dead(self) -> int:
        return len(self.of("dead"))

    @property
    def results(self) -> list[Any]:
        """The results of those that succeeded, in order."""
        return [attempt.result for attempt in self.of("succeeded")]
