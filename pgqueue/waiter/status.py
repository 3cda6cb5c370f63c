"""A job as those who wait for it see it."""

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pgqueue.errors import (
    InvalidOption,
    JobCancelled,
    JobDead,
    JobNotFound,
    PgqueueError,
    UndecodablePayload,
    UnknownTask,
)
from pgqueue.job import State
from pgqueue.options import NewJob
from pgqueue.secrecy.redaction import concealed, shown
from pgqueue.secrecy.sealing import is_sealed
from pgqueue.storage.drivers import run, run_async
from pgqueue.storage.enqueueing import Enqueued
from pgqueue.storage.waiting import Reading, read_status
from pgqueue.tasks import Tasks

_MOST = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """A job at one moment."""

    id: int
    state: State
    task: str
    queue: str
    attempt: int
    """How often it was claimed."""
    failures: int
    """How many attempts were charged to ``max_attempts``."""
    max_attempts: int
    done: float | None
    total: float | None
    """Its progress, where it says something of it; *detail* is what else it says."""
    detail: Any
    result: Any
    """Decoded as by :class:`Waiter`; ``None`` until it succeeded."""
    reason: str | None
    """Why it is dead."""
    error_type: str | None
    error: str | None
    is_over: bool
    """Whether nothing more becomes of it, unless a person redrives it."""


@dataclass(frozen=True, slots=True)
class Finished:
    """What became of a job that was waited for."""

    id: int
    result: Any = None
    error: PgqueueError | None = None
    """:class:`JobDead`, :class:`JobCancelled`, :class:`JobGone`, or :class:`UndecodablePayload` if
    its result cannot be read; ``None``: it succeeded."""

    def value(self) -> Any:
        """Return the result, or raise the error."""
        if self.error is not None:
            raise self.error
        return self.result


def find_status(connection: Any, job: int | Enqueued, *, tasks: Tasks | None = None) -> JobStatus:
    """Return how *job* stands now, read on a sync connection or session, in its transaction.

    Raises :class:`JobNotFound` if it is in no table.
    """
    job_id = id_of(job)
    return _found(job_id, run(connection, read_status([job_id])), tasks)


async def find_status_async(
    connection: Any, job: int | Enqueued, *, tasks: Tasks | None = None
) -> JobStatus:
    """:func:`find_status` on an asynchronous connection or session."""
    job_id = id_of(job)
    return _found(job_id, await run_async(connection, read_status([job_id])), tasks)


def _found(job_id: int, readings: dict[int, Reading], tasks: Tasks | None) -> JobStatus:
    if job_id not in readings:
        raise JobNotFound(job_id)
    return status_of(readings[job_id], tasks)


def id_of(job: object) -> int:
    """Return the id of what may be waited for; raise :class:`InvalidOption` for anything else."""
    if isinstance(job, Enqueued):
        return job.id
    if isinstance(job, NewJob):
        raise InvalidOption("job", "is not enqueued; wait for what enqueue() returned")
    if isinstance(job, bool) or not isinstance(job, int) or not 1 <= job <= _MOST:
        raise InvalidOption("job", f"must be a job's id, or what enqueue() returned, not {job!r}")
    return job


def status_of(reading: Reading, tasks: Tasks | None) -> JobStatus:
    """Return *reading* for people. Raises :class:`UndecodablePayload`."""
    fields = reading._asdict()
    return JobStatus(
        **fields
        | {
            "state": State(reading.state),
            "detail": _detail_of(reading, tasks),
            "error": reading.error and shown(reading.error),
            "result": _result_of(reading, tasks),
            "is_over": reading.is_over,
        }
    )


def finished_of(reading: Reading, tasks: Tasks | None) -> Finished:
    """Return what became of a job that is over."""
    if reading.state == State.CANCELLED:
        why = reading.error and shown(reading.error)
        error = JobCancelled(reading.id, task=reading.task, reason=why)
        return Finished(reading.id, error=error)
    if reading.state != State.SUCCEEDED:
        return Finished(
            reading.id,
            error=JobDead(
                reading.id,
                task=reading.task,
                reason=reading.reason,
                error_type=reading.error_type,
                message=reading.error and shown(reading.error),
                attempts=reading.failures,
            ),
        )
    try:
        return Finished(reading.id, _result_of(reading, tasks))
    except UndecodablePayload as error:
        return Finished(reading.id, error=error)


def _detail_of(reading: Reading, tasks: Tasks | None) -> Any:
    if reading.detail is None:
        return None
    detail = reading.detail
    if tasks is not None and is_sealed(detail):
        with suppress(UnknownTask):
            safety = tasks[reading.task].safety
            detail = safety.opened(detail, reading.task, reading.id, "progress")
    return json.loads(concealed(detail))


def _result_of(reading: Reading, tasks: Tasks | None) -> Any:
    if reading.result is None:
        return None
    if tasks is not None:
        with suppress(UnknownTask):
            task = tasks[reading.task]
            return task.read_result(reading.result, job_id=reading.id, task=reading.task)
    if is_sealed(reading.result):
        raise UndecodablePayload(
            f"the result of job {reading.id} is encrypted; give the waiter the tasks: "
            "Waiter(dsn, tasks=...)"
        )
    try:
        return json.loads(reading.result)
    except (ValueError, RecursionError) as error:
        raise UndecodablePayload(f"the result of job {reading.id}: {error}") from error
