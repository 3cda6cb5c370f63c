"""Look at one job, at the queues, and at the workers. Reads only, and never a big table whole."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from pgqueue.errors import JobNotFound
from pgqueue.storage.operation import Operation, query

MOST_EVENTS = 100
"""So many attempts of a job, and so many verbs of its audit, are read: the latest."""

MOST_LINES = 400
"""So many log lines of a job are read: the latest."""

COUNTED_UP_TO = 10_000
"""No count goes further: it then means "at least"."""

COUNTED_IN_ALL = 100_000
"""So many waiting jobs are counted over all queues, each queue having its share."""

MOST_QUEUES = 1000
MOST_WORKERS = 1000


class AttemptRecord(NamedTuple):
    """An attempt that did not succeed."""

    attempt: int
    outcome: str
    started_at: datetime | None
    ended_at: datetime | None
    error_type: str | None
    error: str | None
    traceback: str | None
    worker_id: str | None


class AuditRecord(NamedTuple):
    """What a person did to a job."""

    at: datetime
    actor: str
    verb: str
    reason: str | None
    detail: str | None


class ProgressRecord(NamedTuple):
    """How far a job has come, by what it said last."""

    attempt: int
    updated_at: datetime
    done: float | None
    total: float | None
    percent: int | None
    """Of a job that succeeded 100, whatever it said."""
    detail: str | None
    """What else it said, as JSON text; so is the checkpoint."""
    checkpoint: str | None


class LineRecord(NamedTuple):
    """A line that an attempt logged."""

    attempt: int
    n: int
    at: datetime
    level: str
    message: str
    fields: str | None


class JobDetails(NamedTuple):
    """Everything known about a job. Of a finished one some options are no longer known: None."""

    now: datetime
    """The database's clock at the time of the look."""
    id: int
    state: str
    queue: str
    task: str
    priority: int
    failures: int
    crashes: int
    max_attempts: int
    created_at: datetime
    run_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    key: str | None
    actor: str | None
    reason: str | None
    error_type: str | None
    error: str | None
    max_crashes: int | None
    attempt: int
    worker_id: str | None
    worker_host: str | None
    worker_pid: int | None
    expires_at: datetime | None
    lease_until: datetime | None
    cancel_requested_at: datetime | None
    timeout: float | None
    keep: float | None
    keep_cancelled: float | None
    keep_dead: float | None
    batch_id: int | None
    on_dead_task: str | None
    fingerprint: str | None
    is_concealed: bool = True
    """The role that looked may not see what jobs hold and say: all below, and the tracebacks."""
    args: str | None = None
    metadata: str | None = None
    result: str | None = None
    history: str | None = None
    attempts: tuple[AttemptRecord, ...] = ()
    audit: tuple[AuditRecord, ...] = ()
    progress: ProgressRecord | None = None
    lines: tuple[LineRecord, ...] = ()


class Count(NamedTuple):
    """How many, or *at_least* how many."""

    size: int
    at_least: bool


class QueueStatus(NamedTuple):
    """How a queue stands, and its settings (None: the default)."""

    name: str
    available: Count
    scheduled: Count
    retrying: Count
    """Scheduled after a failure; not in *scheduled*."""
    running: Count
    dead: Count
    oldest_at: datetime | None
    """Since when the oldest available job could have been running."""
    slots: int
    """The slots of all living workers."""
    paused_at: datetime | None
    priority: int | None
    max_attempts: int | None
    max_crashes: int | None
    timeout_ms: int | None
    keep: float | None
    keep_cancelled: float | None
    keep_dead: float | None
    now: datetime


class WorkerStatus(NamedTuple):
    """A worker that was heard of lately."""

    id: str
    host: str
    pid: int
    version: str
    started_at: datetime
    seen_at: datetime
    alive: bool
    queues: Mapping[str, int]
    now: datetime


def show_job(job_id: int) -> Operation[JobDetails]:
    """Return all that is known about a job, as far as the present role may see it. Raises
    :class:`JobNotFound`."""
    rows = yield from query("show_job", id=job_id)
    if not rows:
        raise JobNotFound(job_id)
    attempts = yield from query("list_attempts", id=job_id, limit=MOST_EVENTS)
    audit = yield from query("list_audit", id=job_id, limit=MOST_EVENTS)
    job = JobDetails(*rows[0])._replace(
        attempts=tuple(AttemptRecord._make(row) for row in attempts),
        audit=tuple(AuditRecord._make(row) for row in audit),
    )
    ((sees_payloads,),) = yield from query("sees_payloads")
    return (yield from _with_payload(job)) if sees_payloads else job


def _with_payload(job: JobDetails) -> Operation[JobDetails]:
    """Add what the job holds, and what it and its attempts said."""
    payload = yield from query("show_payload", id=job.id)
    progress = yield from query("show_progress", id=job.id)
    lines = yield from query("list_lines", id=job.id, limit=MOST_LINES)
    tracebacks: dict[int, str | None] = dict(
        (yield from query("list_tracebacks", id=job.id, limit=MOST_EVENTS))
    )
    args, metadata, result, history = payload[0] if payload else (None,) * 4
    return job._replace(
        is_concealed=False,
        args=args,
        metadata=metadata,
        result=result,
        history=history,
        attempts=tuple(
            attempt._replace(traceback=tracebacks.get(attempt.attempt)) for attempt in job.attempts
        )
        or _remembered(history),
        progress=ProgressRecord._make(progress[0]) if progress else None,
        lines=tuple(LineRecord._make(row) for row in lines),
    )


def queue_status() -> Operation[list[QueueStatus]]:
    """Return how each queue stands that has jobs, settings, tasks or workers, by name."""
    rows = yield from query(
        "queue_status", cap=COUNTED_UP_TO, budget=COUNTED_IN_ALL, most=MOST_QUEUES
    )
    return [QueueStatus._make((row[0], *_counts(row[1:11]), *row[11:])) for row in rows]


def list_workers() -> Operation[list[WorkerStatus]]:
    """Return the workers that were heard of within a day, the latest first."""
    rows = yield from query("list_workers", limit=MOST_WORKERS)
    return [WorkerStatus._make((*row[:7], json.loads(row[7]), *row[8:])) for row in rows]


def _counts(columns: tuple[Any, ...]) -> list[Count]:
    return [Count(*pair) for pair in zip(columns[::2], columns[1::2], strict=True)]


def _remembered(history: str | None) -> tuple[AttemptRecord, ...]:
    """The attempts that a dead job carries on its own row: they outlive the table of attempts."""
    return tuple(
        AttemptRecord(
            attempt=entry["attempt"],
            outcome=entry["outcome"],
            started_at=None,
            ended_at=datetime.fromisoformat(entry["ended_at"]),
            error_type=entry["error_type"],
            error=entry["error"],
            traceback=entry["traceback"],
            worker_id=None,
        )
        for entry in json.loads(history or "[]")
    )
