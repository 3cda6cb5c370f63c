"""Fetch by hand: the SQL functions that other languages call, for scripts in Python."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from pgqueue.outcome import Failure
from pgqueue.storage.operation import Operation, query


class Fetched(NamedTuple):
    """A job as ``pgqueue.fetch`` leased it; what is JSON is still text."""

    id: int
    attempt: int
    worker_id: str
    task: str
    args: str
    priority: int
    metadata: str | None
    actor: str | None
    run: int
    max_attempts: int
    created_at: datetime
    scheduled_for: datetime | None
    batch_id: int | None


def fetch(*, queue: str, lease_ms: int, tasks: Sequence[str] | None) -> Operation[Fetched | None]:
    """Lease the next job of *queue*, of one of *tasks* if they are named."""
    rows = yield from query(
        "call_fetch", queue=queue, lease_ms=lease_ms, tasks=None if tasks is None else list(tasks)
    )
    return Fetched._make(rows[0]) if rows else None


def finish(
    job: Fetched,
    outcome: str,
    *,
    result: str | None = None,
    delay_ms: int | None = None,
    error: str | None = None,
    failure: Failure | None = None,
) -> Operation[bool]:
    """Write what the attempt came to; return whether it was still the caller's."""
    rows = yield from query(
        "call_finish",
        id=job.id,
        attempt=job.attempt,
        worker_id=job.worker_id,
        outcome=outcome,
        result=result,
        delay_ms=delay_ms,
        error=error if failure is None else failure.message,
        error_type=None if failure is None else failure.type,
        traceback=None if failure is None else failure.traceback,
        fingerprint=None if failure is None else failure.fingerprint,
    )
    return bool(rows[0][0])


class Extended(NamedTuple):
    """Whether to go on; if not, whether somebody wants the job cancelled. Else it was lost."""

    goes_on: bool
    cancel_requested: bool


def extend(job: Fetched, *, lease_ms: int) -> Operation[Extended]:
    """Have the lease run from now on."""
    rows = yield from query(
        "call_extend", id=job.id, attempt=job.attempt, worker_id=job.worker_id, lease_ms=lease_ms
    )
    return Extended._make(rows[0])
