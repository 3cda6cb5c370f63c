"""What a worker does to jobs: claim, finish, renew, rescue, stage."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple

from pgqueue.job import Job
from pgqueue.storage.operation import Operation, Row, query

_LONGEST_IDLE_MS = 2**31 - 1
"""What the server's setting can hold, some 24 days."""
_UNBOUNDED = 2**62


def claim(
    *,
    worker_id: str,
    limits: Mapping[str, int],
    tasks: Sequence[str],
    lease: timedelta,
    bytes_left: Mapping[str, int] | None = None,
) -> Operation[list[Job]]:
    """Lease up to ``limits[queue]`` available jobs of each queue, most urgent first, with arguments
    of up to ``bytes_left[queue]`` in all; one job is leased however large it is."""
    room = bytes_left or {}
    rows = yield from query(
        "claim_jobs",
        worker_id=worker_id,
        queues=list(limits),
        limits=list(limits.values()),
        bytes=[room.get(queue, _UNBOUNDED) for queue in limits],
        tasks=list(tasks),
        lease_ms=_ms(lease),
    )
    return claimed(rows)


def claimed(rows: list[Row]) -> list[Job]:
    """Turn the rows of a claim into jobs, most urgent first."""
    found = [Job._make(row) for row in rows]
    found.sort(key=lambda job: (job.priority, job.run_at, job.id))
    return found


def claim_suspects(
    *, worker_id: str, queues: Sequence[str], tasks: Sequence[str], lease: timedelta, few: int
) -> Operation[list[Job]]:
    """Lease one job that crashed its workers twice, or a *few* that may have crashed one."""
    rows = yield from query(
        "claim_suspects",
        worker_id=worker_id,
        queues=list(queues),
        tasks=list(tasks),
        few=few,
        lease_ms=_ms(lease),
    )
    return claimed(rows)


def find_suspects(*, queues: Sequence[str], tasks: Sequence[str]) -> Operation[bool]:
    """Return whether a suspect waits that a worker of these queues and tasks could run."""
    rows = yield from query("find_suspects", queues=list(queues), tasks=list(tasks))
    return bool(rows[0][0])


class Held(NamedTuple):
    """A job that is still this worker's."""

    id: int
    attempt: int
    cancel_requested: bool


def renew(
    *, worker_id: str, ids: Sequence[int], attempts: Sequence[int], lease: timedelta
) -> Operation[list[Held]]:
    """Renew the leases of *ids*, each for its attempt, that are not locked; return those that were
    renewed."""
    rows = yield from query(
        "renew_leases",
        worker_id=worker_id,
        ids=list(ids),
        attempts=list(attempts),
        lease_ms=_ms(lease),
    )
    return [Held._make(row) for row in rows]


def find_held(*, worker_id: str, ids: Sequence[int]) -> Operation[set[tuple[int, int]]]:
    """Return the (id, attempt) of *ids* that this worker still owns, locked or not."""
    rows = yield from query("find_held", worker_id=worker_id, ids=list(ids))
    return {(row[0], row[1]) for row in rows}


class Rescued(NamedTuple):
    """What one rescue did."""

    rescued: int
    died: int
    cancelled: int

    @property
    def total(self) -> int:
        return sum(self)


def rescue(*, limit: int) -> Operation[Rescued]:
    """Take back up to *limit* jobs whose lease ran out, whoever held them."""
    rows = yield from query("rescue_jobs", limit=limit)
    return Rescued._make(rows[0][:3])


class Staged(NamedTuple):
    """What one staging did, and when there is reason for the next."""

    staged: int
    next_in_ms: int | None


def stage(*, limit: int) -> Operation[Staged]:
    """Make up to *limit* due jobs available, longest due first."""
    rows = yield from query("stage_jobs", limit=limit)
    return Staged._make(rows[0][:2])


def expire(*, limit: int) -> Operation[int]:
    """Bury up to *limit* waiting jobs whose "do not start after" has passed; return how many."""
    rows = yield from query("expire_jobs", limit=limit)
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
