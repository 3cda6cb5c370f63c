"""A schedule: when a job is to be enqueued again and again, and what if that is not possible."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Literal

from pgqueue.errors import InvalidOption
from pgqueue.options import NewJob, Rules, Seconds, check, check_text, milliseconds
from pgqueue.timetable.cron import Cron
from pgqueue.timetable.cron_words import describe, describe_interval
from pgqueue.timetable.timing import EPOCH, CronTiming, Every, Timing
from pgqueue.timetable.zones import find_zone

LEAST_GRACE = 5.0
"""Seconds. Tickers look once a second; a tick that was seen by none of two looks is late."""
LONGEST_JITTER = 86400.0
MOST_MISSED = 1000
_SHORTEST, _LONGEST = 1.0, 3660 * 86400.0
_EARLIEST, _LATEST = EPOCH, datetime(9000, 1, 1, tzinfo=UTC)
_MOMENTS = ("$datetime", "$date")
_REFUSED = ("key", "key_ttl", "delay", "run_at")


class Misfire(StrEnum):
    """What becomes of ticks that nobody was there for: those later than the grace."""

    SKIP = "skip"
    """Nothing; those within the grace still run."""
    ONE = "one"
    """One run, for the latest tick, stands for all of them."""
    ALL = "all"
    """Each runs, up to ``misfire_max`` of the latest."""


class Overlap(StrEnum):
    """What becomes of a tick while a job of the schedule waits or runs."""

    SKIP = "skip"
    """It makes no job."""
    ALLOW = "allow"
    """It makes one all the same."""
    QUEUE_ONE = "queue_one"
    """It makes one when the other is over. A second that waits so makes none."""
    CANCEL_PREVIOUS = "cancel_previous"
    """The other is cancelled (asked to stop, if it runs), and it makes one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSchedule:
    """A schedule as it is to be. Checked when it is made: raises :class:`InvalidOption`.

    Either *cron* or *every* says when.
    """

    name: str
    job: NewJob
    """The job of each tick. It has no key, delay or run_at of its own."""
    cron: str | None = None
    """Five fields: minute, hour, day of month, month, day of week; or ``@daily`` and the like."""
    every: Seconds | None = None
    """A tick every so often, 1 second to ten years, counted from *start_at*, or else from midnight
    of 1970-01-01 UTC, so that an hour is a full hour."""
    seconds: Literal["first"] | None = None
    """``"first"``: *cron* has six fields, of which the first is the second."""
    tz: str = "UTC"
    """The zone whose clocks *cron* means."""
    misfire: Misfire | str = Misfire.ONE
    misfire_max: int = 100
    grace: Seconds = 60.0
    """How late a tick may be and still be on time; at least 5 seconds."""
    overlap: Overlap | str | None = None
    """Default ``skip``; with ``misfire="all"`` it is ``allow``, or only one could run."""
    jitter: Seconds = 0.0
    """Each job starts up to so much later, at random; at most a day."""
    start_at: datetime | None = None
    end_at: datetime | None = None
    """No tick is earlier than *start_at* or later than *end_at*."""
    max_runs: int | None = None
    """The schedule ends after so many jobs."""

    def __post_init__(self) -> None:
        check_text("name", self.name or "", 200)
        if (self.cron is None) == (self.every is None):
            raise InvalidOption("cron", "give either cron or every, and not both")
        if self.seconds not in (None, "first"):
            raise InvalidOption("seconds", f"is 'first' or nothing, not {self.seconds!r}")
        if self.seconds is not None and self.cron is None:
            raise InvalidOption("seconds", "belongs to cron, and there is none")
        self._settle("misfire", Misfire(self._one_of("misfire", Misfire)))
        if self.overlap is None:
            allow = self.misfire is Misfire.ALL
            self._settle("overlap", Overlap.ALLOW if allow else Overlap.SKIP)
        self._settle("overlap", Overlap(self._one_of("overlap", Overlap)))
        _check_count("misfire_max", self.misfire_max, MOST_MISSED)
        if self.max_runs is not None:
            _check_count("max_runs", self.max_runs, 2**31 - 1)
        _check_span("grace", self.grace, LEAST_GRACE, _LONGEST)
        _check_span("jitter", self.jitter, 0.0, LONGEST_JITTER)
        if self.every is not None:
            _check_span("every", self.every, _SHORTEST, _LONGEST)
        self._check_moments()
        self._check_job()
        _ = self.timing  # cannot be read, no such zone, never due: said now

    @property
    def timing(self) -> Timing:
        """The arithmetic of its ticks. It is not to be shared between threads."""
        return timing_of(self.name, self.cron, self._interval, self.seconds, self.tz, self.start_at)

    @property
    def words(self) -> str:
        """When it is due, in words."""
        return words_of(self.timing)

    def _check_moments(self) -> None:
        for name, moment in (("start_at", self.start_at), ("end_at", self.end_at)):
            if moment is None:
                continue
            if not isinstance(moment, datetime) or moment.utcoffset() is None:
                raise InvalidOption(name, f"must be a datetime with a time zone, not {moment!r}")
            if not _EARLIEST <= moment <= _LATEST:
                raise InvalidOption(name, f"must be from 1970 to 9000, not {moment}")
        if self.start_at is not None and self.end_at is not None and self.start_at > self.end_at:
            raise InvalidOption("end_at", "is before start_at")

    def _check_job(self) -> None:
        job = check(self.job)
        check_text("task", job.task or "", 200)
        for option in _REFUSED:
            if getattr(job, option) is not None:
                raise InvalidOption(
                    option, f"schedule {self.name!r}: each tick decides that for its own job"
                )
        if isinstance(job.expires, datetime):
            raise InvalidOption("expires", "must be a length of time, from the start of each job")
        rules = job.rules or Rules()
        if rules.sealer is not None and job.args != "{}":
            raise InvalidOption(
                "args",
                f"schedule {self.name!r} would keep them in the clear for {job.task!r}, which "
                "encrypts them; schedule it without, and let the job look them up",
            )
        rules.guard.check(job.args, "args")
        if "schedule" in (job.metadata or {}):
            raise InvalidOption("metadata", "its 'schedule' is where a job's schedule is named")
        if moment := _moment_in(json.loads(job.args)):
            raise InvalidOption(
                "args",
                f"schedule {self.name!r} would call {job.task!r} with {moment} at every tick; use "
                "ctx.scheduled_for in the task, or give it as text if it is meant to stay",
            )

    def _one_of(self, name: str, kinds: type[StrEnum]) -> Any:
        value = getattr(self, name)
        if value not in list(kinds):
            raise InvalidOption(name, f"is one of {', '.join(kinds)}, not {value!r}")
        return value

    def _settle(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    @property
    def _interval(self) -> timedelta | None:
        if self.every is None:
            return None
        return timedelta(milliseconds=milliseconds(self.every, "every"))


def timing_of(
    name: str,
    cron: str | None,
    every: timedelta | None,
    seconds: str | None,
    tz: str,
    start_at: datetime | None,
) -> Timing:
    """Return the arithmetic of a schedule's ticks. Raises :class:`InvalidOption`."""
    zone = find_zone(tz)
    if every is not None:
        return Every(every, start_at or EPOCH)
    return CronTiming(Cron(cron or "", name=name, seconds=seconds == "first"), zone)


def words_of(timing: Timing) -> str:
    """Say when a schedule is due, and by which clocks."""
    if isinstance(timing, CronTiming):
        return f"{describe(timing.cron)} ({timing.zone.key})"
    assert isinstance(timing, Every)
    return describe_interval(timing.interval)


def _check_count(name: str, value: object, most: int) -> None:
    if type(value) is not int or not 1 <= value <= most:
        raise InvalidOption(name, f"must be a whole number from 1 to {most}, not {value!r}")


def _check_span(name: str, value: object, least: float, most: float) -> None:
    if not least <= milliseconds(value, name) / 1000 <= most:
        raise InvalidOption(name, f"must be from {least:g} s to {most:g} s, not {value!r}")


def _moment_in(value: Any) -> str | None:
    """Find a date or a moment among encoded arguments, which do not move on with the ticks."""
    if isinstance(value, dict):
        for tag, stored in value.items():
            if tag in _MOMENTS:
                return f"the {tag[1:]} {stored[0] if isinstance(stored, list) else stored}"
            if found := _moment_in(stored):
                return found
    elif isinstance(value, list):
        return next(filter(None, map(_moment_in, value)), None)
    return None
