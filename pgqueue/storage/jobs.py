"""What a worker does to the jobs it has, and for those that nobody has: renew, rescue, stage."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import MappingProxyType
from typing import NamedTuple

from pgqueue.job import Job
from pgqueue.storage.operation import Operation, query

_LONGEST_IDLE_MS = 2**31 - 1
"""What the server's setting can hold, some 24 days."""


class Held(NamedTuple):
    """A job that is still this worker's."""

    id: int
    attempt: int
    cancel_requested: bool


def renew(
    *,
    worker_id: str,
    ids: Sequence[int],
    attempts: Sequence[int],
    lease: timedelta,
    own: Mapping[int, timedelta] = MappingProxyType({}),
) -> Operation[list[Held]]:
    """Renew the leases of *ids*, each for its attempt, that are not locked, for *lease* or a length
    of their *own*; return those that were renewed."""
    rows = yield from query(
        "renew_leases",
        worker_id=worker_id,
        ids=list(ids),
        attempts=list(attempts),
        leases_ms=[_ms(own.get(job_id, lease)) for job_id in ids],
    )
    return [Held._make(row) for row in rows]


def find_held(*, worker_id: str, ids: Sequence[int]) -> Operation[list[Held]]:
    """Return those of *ids* that this worker still owns, locked or not."""
    rows = yield from query("find_held", worker_id=worker_id, ids=list(ids))
    return [Held._make(row) for row in rows]


class Rescued(NamedTuple):
    """What one rescue did."""

    rescued: int
    died: int
    cancelled: int

    @property
    def total(self) -> int:
        return sum(self)


def rescue(*, limit: int, within: float | None = None) -> Operation[Rescued]:
    """Take back up to *limit* jobs whose lease ran out, whoever held them; of those that did so
    *within* the last seconds, if that is said."""
    rows = yield from query("rescue_jobs", limit=limit, within_s=within)
    return Rescued._make(rows[0][:3])


class Staged(NamedTuple):
    """What one staging did, and when there is reason for the next."""

    staged: int
    next_in_ms: int | None


def stage(*, limit: int, within: float | None = None) -> Operation[Staged]:
    """Make up to *limit* due jobs available, longest due first; of those that fell due *within* the
    last seconds, if that is said."""
    rows = yield from query("stage_jobs", limit=limit, within_s=within)
    return Staged._make(rows[0][:2])


def expire(*, limit: int, within: float | None = None) -> Operation[int]:
    """Bury up to *limit* waiting jobs whose "do not start after" has passed, *within* the last
    seconds if that is said; return how many."""
    rows = yield from query("expire_jobs", limit=limit, within_s=within)
    return int(rows[0][0])


def lock_running(*, worker_id: str, job: Job, idle_limit: timedelta) -> Operation[bool]:
    """Lock the job's row for the rest of the transaction; return whether it is still ours."""
    rows = yield from query(
        "lock_running_job",
        worker_id=worker_id,
        id=job.id,
        attempt=job.attempt,
        idle_limit_ms=min(_ms(idle_limit), _LONGEST_IDLE_MS),
    )
    return bool(rows)


def lock_undecided(*, worker_id: str, job: Job) -> Operation[bool]:
    """Return whether the job is still running and ours. Raises LockNotAvailable while the COMMIT is
    in flight."""
    rows = yield from query("lock_undecided", worker_id=worker_id, id=job.id, attempt=job.attempt)
    return bool(rows)


def find_unlocked(ids: Sequence[int]) -> Operation[set[int]]:
    """Return those of *ids* whose rows nobody has locked, or are gone."""
    rows = yield from query("find_unlocked", ids=list(ids))
    return {row[0] for row in rows}


def find_written(*, worker_id: str, held: Sequence[Job]) -> Operation[dict[int, str]]:
    """Return those attempts whose outcome is in the database already: id -> what it came to."""
    rows = yield from query(
        "find_written",
        worker_id=worker_id,
        ids=[job.id for job in held],
        attempts=[job.attempt for job in held],
    )
    return {row[0]: str(row[1]) for row in rows}


def release_strays(*, worker_id: str, held: Sequence[Job]) -> Operation[int]:
    """Give back jobs leased to this worker that are not among *held*; return how many."""
    rows = yield from query(
        "release_strays",
        worker_id=worker_id,
        ids=[job.id for job in held],
        attempts=[job.attempt for job in held],
    )
    return int(rows[0][0])


def show_isolation() -> Operation[str]:
    """Return the isolation level of the transaction, without taking its snapshot."""
    rows = yield from query("show_isolation")
    return str(rows[0][0])


def find_finished(*, worker_id: str, job: Job) -> Operation[str | None]:
    """Return the final state that this very attempt gave the job, or None."""
    rows = yield from query("find_finished", worker_id=worker_id, id=job.id, attempt=job.attempt)
    return str(rows[0][0]) if rows else None


def _ms(duration: timedelta) -> int:
    return int(duration.total_seconds() * 1000)
