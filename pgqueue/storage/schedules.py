"""Schedules in the database: saved, found when they are due, ticked, switched."""

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from pgqueue.options import Seconds, keeps, milliseconds
from pgqueue.storage.enqueueing import metadata_text, timeout_ms
from pgqueue.storage.operation import Operation, query
from pgqueue.timetable.misfire import Due, Rules
from pgqueue.timetable.schedule import Misfire, NewSchedule, timing_of
from pgqueue.timetable.timing import Timing


class Saved(NamedTuple):
    """What became of one schedule that was to be saved."""

    name: str
    answer: str
    """``created``, ``changed``, ``unchanged``; ``taken``: another source has the name; from a sync
    also ``orphaned`` (declared once, and no longer) and ``pruned``."""
    changes: dict[str, list[Any]]
    """Column -> what it was, what it is."""


class Seen(NamedTuple):
    """A schedule that is due or new, as a ticker saw it, without a lock."""

    id: int
    name: str
    cron: str | None
    every_ms: int | None
    seconds: str | None
    tz: str
    start_at: datetime | None
    end_at: datetime | None
    misfire: str
    misfire_max: int
    grace_ms: int
    revision: int
    ticked_until: datetime
    next_run_at: datetime | None
    tzdata: str | None

    def timing(self) -> Timing:
        """Return the arithmetic of its ticks. Raises :class:`InvalidOption`: by SQL anything can be
        written."""
        every = None if self.every_ms is None else timedelta(milliseconds=self.every_ms)
        return timing_of(self.name, self.cron, every, self.seconds, self.tz, self.start_at)

    @property
    def rules(self) -> Rules:
        return Rules(
            Misfire(self.misfire),
            self.misfire_max,
            timedelta(milliseconds=self.grace_ms),
            self.start_at,
            self.end_at,
        )


class Look(NamedTuple):
    """What a ticker sees at one look."""

    now: datetime
    """The database's clock, by which everything is judged."""
    next_in_ms: int | None
    """When the next of the others is due; None: none is known."""
    due: list[Seen]


class Ticked(NamedTuple):
    """What came of a schedule's due ticks."""

    made: int
    """Jobs."""
    without: int
    """Ticks that made none, because a job was under way."""


def save(schedule: NewSchedule, *, actor: str | None = None) -> Operation[Saved]:
    """Make or change a *schedule* of the application's; return what became of it."""
    definition = json.dumps(_columns(schedule))
    rows = yield from query("save_schedule", definition=definition, actor=actor)
    return _saved(rows[0])


def sync(
    declared: Iterable[NewSchedule], *, prune: bool = False, actor: str | None = None
) -> Operation[list[Saved]]:
    """Write down what the code declares; *prune*: remove what it no longer does."""
    rows = yield from query(
        "sync_schedules", definitions=_definitions(declared), prune=prune, actor=actor
    )
    return [_saved(row) for row in rows]


def look(*, limit: int) -> Operation[Look]:
    """Return up to *limit* schedules that are due, and as many that nobody has looked at."""
    rows = yield from query("find_schedules", limit=limit)
    now, next_in_ms = rows[0][:2]
    return Look(now, next_in_ms, [Seen._make(row[2:]) for row in rows if row[2] is not None])


def tick(seen: Seen, due: Due, *, words: str, tzdata: str) -> Operation[Ticked | None]:
    """Do what was found to be *due*; None: somebody was faster."""
    gap = due.gap
    rows = yield from query(
        "tick_schedule",
        schedule_id=seen.id,
        revision=seen.revision,
        seen_until=seen.ticked_until,
        ticks=list(due.ticks),
        ticked_until=due.ticked_until,
        next_run_at=due.next_run_at,
        tzdata=tzdata,
        words=words,
        gap_first=gap and gap.first,
        gap_last=gap and gap.last,
        gap_count=gap and gap.size,
        gap_reason=gap and gap.reason,
    )
    return Ticked._make(rows[0]) if rows else None


def fail(seen: Seen, error: str) -> Operation[bool]:
    """Disable a schedule that cannot be understood; return whether it was still the same."""
    text = error.replace("\0", "�")
    rows = yield from query(
        "fail_schedule", schedule_id=seen.id, revision=seen.revision, error=text
    )
    return bool(rows)


def run_queued(*, limit: int) -> Operation[int]:
    """Make the jobs of ticks that waited for another job to be over; return how many."""
    rows = yield from query("run_queued", limit=limit)
    return int(rows[0][0])


def recompute(*, tzdata: str) -> Operation[list[str]]:
    """Have next ticks found anew that are by older zone data; return the schedules' names."""
    rows = yield from query("recompute_schedules", tzdata=tzdata)
    return [str(row[0]) for row in rows]


def enable(name: str, *, actor: str | None = None, reason: str | None = None) -> Operation[str]:
    """Have the schedule tick, from now on: ``enabled`` or ``unknown``."""
    rows = yield from query("call_enable_schedule", name=name, actor=actor, reason=reason)
    return str(rows[0][0])


def disable(name: str, *, actor: str | None = None, reason: str | None = None) -> Operation[str]:
    """Have the schedule make no more jobs: ``disabled`` or ``unknown``."""
    rows = yield from query("call_disable_schedule", name=name, actor=actor, reason=reason)
    return str(rows[0][0])


def remove(name: str, *, actor: str | None = None, reason: str | None = None) -> Operation[str]:
    """Remove the schedule: ``removed`` or ``unknown``."""
    rows = yield from query("call_unschedule", name=name, actor=actor, reason=reason)
    return str(rows[0][0])


def run_now(
    name: str, *, actor: str | None = None, reason: str | None = None
) -> Operation[int | None]:
    """Enqueue the schedule's job; return its id, None if there is no such schedule."""
    rows = yield from query("call_run_schedule_now", name=name, actor=actor, reason=reason)
    job_id: int | None = rows[0][0]
    return job_id


def _saved(row: tuple[Any, ...]) -> Saved:
    name, answer, changes = row
    return Saved(name, answer, json.loads(changes or "{}"))


def _definitions(declared: Iterable[NewSchedule]) -> str:
    """The schedules that code declares, as JSON objects with the columns of the table."""
    return json.dumps([{**_columns(each), "source": "code"} for each in declared])


def _columns(schedule: NewSchedule) -> dict[str, Any]:
    job = schedule.job
    keep = keeps(job)
    metadata = metadata_text(job)
    return {
        "name": schedule.name,
        "task": job.task,
        "args": json.loads(job.args),
        "cron": schedule.cron,
        "every": _interval(schedule.every, "every"),
        "seconds": schedule.seconds,
        "tz": schedule.tz,
        "start_at": _moment(schedule.start_at),
        "end_at": _moment(schedule.end_at),
        "max_runs": schedule.max_runs,
        "misfire": schedule.misfire,
        "misfire_max": schedule.misfire_max,
        "grace": _interval(schedule.grace, "grace"),
        "overlap": schedule.overlap,
        "jitter": _interval(schedule.jitter, "jitter"),
        "queue": job.queue,
        "priority": job.priority,
        "max_attempts": job.max_attempts,
        "max_crashes": job.max_crashes,
        "timeout_ms": timeout_ms(job.timeout),
        "expires": None if isinstance(job.expires, datetime) else _interval(job.expires, "expires"),
        "keep": _interval(keep.succeeded, "keep"),
        "keep_cancelled": _interval(keep.cancelled, "keep"),
        "keep_dead": _interval(keep.dead, "keep"),
        "on_dead_task": job.on_dead_task or None,
        "actor": job.actor,
        "metadata": None if metadata is None else json.loads(metadata),
    }


def _interval(duration: Seconds | None, name: str) -> str | None:
    return None if duration is None else f"{milliseconds(duration, name)} milliseconds"


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
