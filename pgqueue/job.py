"""A job's states and their legal moves, why a job dies, and the job as a worker holds it.

Everything that affects the states lives in this file: the CHECK constraints, the SQL statements and
the documentation are tested against the table ``TRANSITIONS``.
"""

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple


class State(StrEnum):
    """Where a job is in its life. ``succeeded``, ``cancelled`` and ``discarded`` are final."""

    BLOCKED = "blocked"
    SCHEDULED = "scheduled"
    AVAILABLE = "available"
    RUNNING = "running"
    DEAD = "dead"
    SUCCEEDED = "succeeded"
    CANCELLED = "cancelled"
    DISCARDED = "discarded"


TRANSITIONS: dict[State, frozenset[State]] = {
    State.BLOCKED: frozenset({State.SCHEDULED, State.AVAILABLE, State.DEAD, State.CANCELLED}),
    State.SCHEDULED: frozenset({State.AVAILABLE, State.CANCELLED}),
    State.AVAILABLE: frozenset({State.SCHEDULED, State.RUNNING, State.DEAD, State.CANCELLED}),
    State.RUNNING: frozenset(
        {State.SUCCEEDED, State.SCHEDULED, State.AVAILABLE, State.DEAD, State.CANCELLED}
    ),
    State.DEAD: frozenset({State.SCHEDULED, State.AVAILABLE, State.DISCARDED}),
    State.SUCCEEDED: frozenset(),
    State.CANCELLED: frozenset(),
    State.DISCARDED: frozenset(),
}
"""State -> the states it may move to. A move that is not here is a bug, wherever it is made."""

LIVE_STATES = tuple(state for state in State if TRANSITIONS[state])
"""The states of rows in ``pgqueue.jobs``; the others are found in ``pgqueue.finished_jobs``."""

FINAL_STATES = tuple(state for state in State if not TRANSITIONS[state])


class Reason(StrEnum):
    """Why a job is dead."""

    ATTEMPTS_EXHAUSTED = "attempts_exhausted"
    NON_RETRYABLE = "non_retryable"
    TIMEOUT = "timeout"
    CRASHED = "crashed"
    UNDECODABLE = "undecodable"
    UNAUTHORIZED = "unauthorized"
    EXPIRED = "expired"
    PARENT_FAILED = "parent_failed"
    UNKNOWN_OUTCOME = "unknown_outcome"


class Job(NamedTuple):
    """A job as a worker holds it. ``(id, attempt, worker_id)`` proves the worker still owns it.

    A named tuple, not a dataclass: a worker makes one for every row of every claim, and a tuple
    costs a fifth. The order of the fields is the order of columns that a claim returns.
    """

    id: int
    attempt: int
    queue: str
    task: str
    priority: int
    run_at: datetime
    created_at: datetime
    failures: int
    crashes: int
    max_attempts: int
    max_crashes: int
    timeout_ms: int | None
    actor: str | None
    args: str
    metadata: str | None
    scheduled_for: datetime | None = None
    """The nominal time of the tick that made it, if a schedule did."""
    batch_id: int | None = None
    checkpoint: str | None = None
    """What an earlier attempt left for this one, as JSON text."""

    @property
    def timeout(self) -> float | None:
        """Seconds an attempt may take; ``None`` means without limit."""
        return None if self.timeout_ms is None else self.timeout_ms / 1000

    @property
    def run(self) -> int:
        """Which of ``max_attempts`` runs this is, from 1. Crashes, snoozes and releases are
        free."""
        return self.failures + 1

    def __str__(self) -> str:
        return f"{self.task}[{self.id}]"

    def __repr__(self) -> str:
        """Without the arguments: a repr ends in logs."""
        return f"<Job {self} attempt {self.attempt} {self.queue}>"


CALLBACK_OF = "pgqueue.batch_id"
"""In the metadata of a batch's callback: the id of the batch. The job is not a part of it."""
