"""Pages of jobs, for people: filtered, in an order an index has, never reading without bound."""

import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from pgqueue.errors import InvalidOption
from pgqueue.job import FINAL_STATES, LIVE_STATES, State
from pgqueue.storage.operation import Operation, query

FIRST_LOOK = 1_000
LONGEST_LOOK = 32_000
"""Rows that one statement looks at: some 20 ms. Looks grow up to this while little is found."""

LOOKED_AT_MOST = 1_000_000
"""After so many rows that did not fit, a page ends as it is, and says where to go on."""

_STATEMENTS: dict[str, str] = {State.DEAD: "list_dead", State.RUNNING: "list_running"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class JobSummary(NamedTuple):
    """A job as one line of a list."""

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
    """When it was over; of a dead job, when it died."""
    key: str | None
    actor: str | None
    reason: str | None
    error_type: str | None
    error: str | None


class Page(NamedTuple):
    """Some jobs, and where the next page begins."""

    now: datetime
    """The database's clock at the time of the look."""
    jobs: list[JobSummary]
    next: str | None
    """Give this as *before* to go on; None: there is no more."""
    looked_at: int
    """How many rows were looked at, when it was not only those that fit."""


class Position(NamedTuple):
    """Where a page ended: before this job, and in the dead letter before this moment as well."""

    id: int = 2**63 - 1
    died_at: datetime | None = None

    def __str__(self) -> str:
        if self.died_at is None:
            return str(self.id)
        return f"{(self.died_at - _EPOCH) // timedelta(microseconds=1)}-{self.id}"

    @classmethod
    def parse(cls, text: str) -> "Position":
        """Read what ``str()`` wrote. Raises :class:`InvalidOption`."""
        match = re.fullmatch(r"(?:(\d{1,16})-)?(\d{1,18})", text, re.ASCII)
        if match is None:
            raise InvalidOption(
                "before", f"must be a job's id, or what a page ended with, not {text!r:.80}"
            )
        died_us, job_id = match.groups()
        died_at = _EPOCH + timedelta(microseconds=int(died_us)) if died_us else None
        return cls(int(job_id), died_at)


def list_jobs(
    *,
    state: str | None = None,
    queue: str | None = None,
    task: str | None = None,
    batch_id: int | None = None,
    limit: int = 50,
    before: str | None = None,
) -> Operation[Page]:
    """Return up to *limit* jobs, newest first; of the dead, the latest death first, unless they are
    those of one batch.

    *before* is where the last page ended; a plain job id does for all but the dead. Raises
    :class:`InvalidOption` if it is neither.
    """
    position = Position() if before is None else Position.parse(before)
    by_death = state == State.DEAD and batch_id is None
    if before is not None and (position.died_at is not None) != by_death:
        raise InvalidOption("before", f"{before!r} is not from a page of this list")
    statement = "list_jobs" if batch_id is not None else _STATEMENTS.get(state or "", "list_jobs")
    jobs: list[JobSummary] = []
    looked_at, window = 0, FIRST_LOOK
    while True:
        rows = yield from query(
            statement,
            live=state is None or state in LIVE_STATES,
            finished=state is None or state in FINAL_STATES,
            state=state,
            queue=queue,
            task=task,
            batch_id=batch_id,
            before=position.id,
            before_at=position.died_at,
            window=window,
            limit=limit - len(jobs),
        )
        now, size, *ended = rows[0][:4]
        jobs += [JobSummary._make(row[4:]) for row in rows if row[4] is not None]
        looked_at += size
        if len(jobs) == limit:
            died_at = jobs[-1].finished_at if by_death else None
            return Page(now, jobs, str(Position(jobs[-1].id, died_at)), looked_at)
        if size < window:
            return Page(now, jobs, None, looked_at)
        position = Position(*ended)
        if looked_at >= LOOKED_AT_MOST:
            return Page(now, jobs, str(position), looked_at)
        window = min(window * 2, LONGEST_LOOK)
