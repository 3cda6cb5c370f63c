"""Jobs as lines of a table."""

from datetime import datetime

from pgqueue.cli.human import ago
from pgqueue.cli.output import Column
from pgqueue.job import Reason, State
from pgqueue.storage.listing import JobSummary

COLUMNS = (
    Column("ID", right=True),
    Column("STATE", colour={"dead": "red", "running": "green"}.get),
    Column("QUEUE", elastic=True),
    Column("TASK", elastic=True),
    Column("WHEN"),
    Column("RUN", right=True),
    Column("WHY", elastic=True),
)
_WAITING = (State.BLOCKED, State.SCHEDULED, State.AVAILABLE)


def row_of(job: JobSummary, now: datetime) -> list[str]:
    """The line of a job at this moment of the database's clock."""
    return [
        str(job.id),
        job.state,
        job.queue,
        job.task,
        _when(job, now),
        _run_of(job),
        _why(job),
    ]


def _run_of(job: JobSummary) -> str:
    """Which run of how many: of a dead job the last one, else the one that is on or next."""
    over = job.state in (State.DEAD, State.DISCARDED)
    return f"{job.failures if over else job.failures + 1}/{job.max_attempts}"


def _why(job: JobSummary) -> str:
    # Attempts are exhausted by errors, and there is room for one thing only: the error.
    reason = None if job.reason == Reason.ATTEMPTS_EXHAUSTED else job.reason
    return ": ".join(part for part in (reason, job.error_type, job.error) if part)


def _when(job: JobSummary, now: datetime) -> str:
    if job.state in _WAITING:
        return f"due {ago(job.run_at, now)}"
    if job.state == State.RUNNING and job.started_at is not None:
        return f"started {ago(job.started_at, now)}"
    if job.finished_at is not None:
        return f"{'died' if job.state == State.DEAD else 'ended'} {ago(job.finished_at, now)}"
    return ""
