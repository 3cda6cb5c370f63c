"""Look at the schedules, and at what became of their ticks. Reads only."""

from datetime import datetime, timedelta
from typing import NamedTuple

from pgqueue.errors import ScheduleNotFound
from pgqueue.storage.operation import Operation, query
from pgqueue.timetable.schedule import timing_of
from pgqueue.timetable.timing import Timing

MOST = 1000
"""So many schedules are listed."""


class ScheduleStatus(NamedTuple):
    """How a schedule stands."""

    now: datetime
    """The database's clock at the time of the look."""
    name: str
    state: str
    """``enabled``, ``disabled``, ``ended``, or ``error``."""
    words: str
    task: str
    cron: str | None
    every: float | None
    tz: str
    misfire: str
    overlap: str
    source: str
    next_run_at: datetime | None
    """None: there is none, or no worker has looked yet."""
    last_run_at: datetime | None
    last_job_id: int | None
    late: float | None
    """For how many seconds the next tick has been due."""
    runs: int
    missed: int
    error: str | None


class TickRecord(NamedTuple):
    """A tick, or a gap: many ticks that never ran."""

    at: datetime
    until: datetime
    size: int
    outcome: str
    job_id: int | None


class ScheduleDetails(NamedTuple):
    """Everything known about a schedule."""

    status: ScheduleStatus
    args: str
    seconds: str | None
    misfire_max: int
    grace: float
    jitter: float
    start_at: datetime | None
    end_at: datetime | None
    max_runs: int | None
    ticked_until: datetime
    queued_for: datetime | None
    tzdata: str | None
    created_at: datetime
    updated_at: datetime
    queue: str | None
    actor: str | None
    metadata: str | None
    id: int
    ticks: tuple[TickRecord, ...] = ()

    @property
    def looks_from(self) -> datetime:
        """The moment after which the next tick is to be sought."""
        from_now = max(self.ticked_until, self.status.now)
        if self.start_at is None:
            return from_now
        return max(from_now, self.start_at - timedelta(microseconds=1))

    def timing(self) -> Timing:
        """Return the arithmetic of its ticks. Raises :class:`InvalidOption`."""
        status = self.status
        every = None if status.every is None else timedelta(seconds=status.every)
        return timing_of(status.name, status.cron, every, self.seconds, status.tz, self.start_at)


def list_schedules() -> Operation[list[ScheduleStatus]]:
    """Return how each schedule stands, the next one first."""
    rows = yield from query("list_schedules", limit=MOST)
    return [ScheduleStatus._make(row) for row in rows]


def show_schedule(name: str, *, ticks: int = 20) -> Operation[ScheduleDetails]:
    """Return all that is known about a schedule. Raises :class:`ScheduleNotFound`."""
    rows = yield from query("show_schedule", name=name)
    if not rows:
        raise ScheduleNotFound(name)
    split = len(ScheduleStatus._fields)
    found = ScheduleDetails(ScheduleStatus._make(rows[0][:split]), *rows[0][split:])
    history = yield from query("list_ticks", schedule_id=found.id, limit=ticks)
    return found._replace(ticks=tuple(TickRecord._make(row) for row in history))
