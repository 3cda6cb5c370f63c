"""What hooks are told about a job whose outcome was written."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEvent:
    """An outcome that is in the database."""

    job_id: int
    job_name: str
    """The task's name."""
    queue: str
    worker: str
    """The id of the worker that wrote it."""
    attempt: int
    attempts_made: int
    """How many runs were charged, this one included; 1 after the first failure."""
    max_attempts: int
    will_retry: bool
    next_run_at: datetime | None
    """About when it runs again, if it does."""
    error: str | None
    error_type: str | None
    fingerprint: str | None
    """Equal for errors that are the same to a person."""
    reason: str | None
    """Why it is dead, if it is."""
    trace_id: str | None
    """What ``metadata={"trace_id": ...}`` said at the enqueue, or else the trace of its
    ``traceparent``."""
