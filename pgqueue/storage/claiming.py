"""Claim: lease available jobs, from the head of their queues or past what is dead there."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from operator import itemgetter
from types import MappingProxyType
from typing import NamedTuple

from pgqueue.job import Job
from pgqueue.storage.operation import Operation, Row, query

_UNBOUNDED = 2**62
_FEW = 10
"""A snapshot that so many transactions are younger than is nobody's fault."""
_URGENCY = itemgetter(*map(Job._fields.index, ("priority", "run_at", "id")))


class Claimed(NamedTuple):
    """What a claim came to."""

    jobs: list[Job]
    """Most urgent first."""
    search_us: int
    """Microseconds until the rows were found; writing them is not included."""
    at: datetime
    """When the search ended, by the database's clock."""
    paused: frozenset[str] = frozenset()
    """The queues that are paused, and were not searched."""


class Band(NamedTuple):
    """A priority of a queue, and the place in it behind which a claim begins."""

    queue: str
    priority: int
    run_at: datetime
    id: int


def claim(
    *,
    worker_id: str,
    limits: Mapping[str, int],
    tasks: Sequence[str],
    lease: timedelta,
    bytes_left: Mapping[str, int] = MappingProxyType({}),
) -> Operation[Claimed]:
    """Lease up to ``limits[queue]`` available jobs of each queue, most urgent first, with arguments
    of up to ``bytes_left[queue]`` in all; one job is leased however large it is."""
    rows = yield from query(
        "claim_jobs",
        worker_id=worker_id,
        queues=list(limits),
        limits=list(limits.values()),
        bytes=[bytes_left.get(queue, _UNBOUNDED) for queue in limits],
        tasks=list(tasks),
        lease_ms=_ms(lease),
    )
    return claimed(rows)


def claim_beyond(
    *,
    worker_id: str,
    limits: Mapping[str, int],
    tasks: Sequence[str],
    lease: timedelta,
    bands: Sequence[tuple[Band, int]],
    found: Sequence[int],
    found_bytes: int = _UNBOUNDED,
    bytes_left: Mapping[str, int] = MappingProxyType({}),
) -> Operation[Claimed]:
    """Lease like :func:`claim`, but behind the *bands*' places, and of the jobs *found* there, with
    arguments of up to *found_bytes*.

    Each band comes with the priority below which it ends; of one queue in their order."""
    rows = yield from query(
        "claim_beyond",
        worker_id=worker_id,
        queues=list(limits),
        limits=list(limits.values()),
        bytes=[bytes_left.get(queue, _UNBOUNDED) for queue in limits],
        tasks=list(tasks),
        lease_ms=_ms(lease),
        band_queues=[band.queue for band, _ in bands],
        priorities=[band.priority for band, _ in bands],
        belows=[below for _, below in bands],
        run_ats=[band.run_at for band, _ in bands],
        ids=[band.id for band, _ in bands],
        found=list(found),
        found_bytes=found_bytes,
    )
    return claimed(rows)


def claimed(rows: list[Row]) -> Claimed:
    """Turn the rows of a claim into jobs."""
    summary, *jobs = map(Job._make, rows)
    jobs.sort(key=_URGENCY)
    paused = frozenset(json.loads(summary.queue)) if summary.queue else frozenset()
    return Claimed(jobs, search_us=summary.attempt, at=summary.run_at, paused=paused)


class Found(NamedTuple):
    """A job that waits behind a band's place."""

    id: int
    queue: str
    priority: int
    run_at: datetime


class Behind(NamedTuple):
    """What a look behind the cursors came to."""

    jobs: list[Found]
    low: int
    """The page at which the span began that was looked at."""
    took_us: int | None
    """None: another worker was looking, and this one did not."""


def find_behind(
    *,
    limits: Mapping[str, int],
    tasks: Sequence[str],
    bands: Sequence[Band],
    high: int | None,
    size: int,
    turn: int,
) -> Operation[Behind]:
    """Look for jobs behind the *bands*' places in the *size* pages of the table below *high*
    (``None``: its end). *turn* is the same number in all workers that look for the same jobs."""
    rows = yield from query(
        "find_behind",
        queues=list(limits),
        limits=list(limits.values()),
        tasks=list(tasks),
        band_queues=[band.queue for band in bands],
        priorities=[band.priority for band in bands],
        run_ats=[band.run_at for band in bands],
        ids=[band.id for band in bands],
        high=high,
        size=size,
        turn=turn,
    )
    return behind(rows)


def behind(rows: list[Row]) -> Behind:
    """Turn the rows of a look into what it found."""
    found = [Found._make(row[:4]) for row in rows if row[0] is not None]
    return Behind(found, *rows[0][4:])


class Head(NamedTuple):
    """What a search of the head of a queue came to."""

    found: int
    """How many jobs."""
    search_us: int
    """Microseconds."""


def search_head(*, queue: str, tasks: Sequence[str], limit: int) -> Operation[Head]:
    """Search for up to *limit* available jobs from the head of *queue*, and leave them there."""
    rows = yield from query("search_head", queue=queue, tasks=list(tasks), limit=limit)
    return head(rows)


def head(rows: list[Row]) -> Head:
    """Turn the row of such a search into what it says."""
    return Head._make(rows[0])


def find_horizon() -> Operation[str | None]:
    """Return who keeps dead rows from being cleaned up, in words; None: nobody does for long."""
    rows = yield from query("find_horizon")
    if not rows or rows[0][1] < _FEW:
        return None
    holder, transactions = rows[0]
    return f"{holder}, {transactions:,} transactions ago"


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
    return sorted(map(Job._make, rows), key=_URGENCY)


def find_suspects(*, queues: Sequence[str], tasks: Sequence[str]) -> Operation[bool]:
    """Return whether a suspect waits that a worker of these queues and tasks could run."""
    rows = yield from query("find_suspects", queues=list(queues), tasks=list(tasks))
    return bool(rows[0][0])


def _ms(duration: timedelta) -> int:
    return int(duration.total_seconds() * 1000)
