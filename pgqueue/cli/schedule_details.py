"""One schedule, in full: for people, and as JSON."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from pgqueue.cli.human import ago, exactly, number
from pgqueue.cli.output import (
    Column,
    embedded,
    plain,
    print_fact,
    print_heading,
    print_table,
    visible,
)
from pgqueue.errors import InvalidOption
from pgqueue.storage.schedule_listing import ScheduleDetails, TickRecord
from pgqueue.timetable.zones import find_zone

_TICKS = (
    Column("TICK"),
    Column("OUTCOME", elastic=True),
    Column("JOB", right=True),
)


def details_of(found: ScheduleDetails) -> dict[str, Any]:
    """The schedule as JSON has it, with what is stored as JSON in it as such."""
    details: dict[str, Any] = plain(found)
    details |= details.pop("status")
    for name in ("args", "metadata"):
        details[name] = embedded(details[name])
    return details


def print_details(found: ScheduleDetails) -> None:
    """Print the schedule, and its latest ticks."""
    print_heading(f"schedule {visible(found.status.name)}  {found.status.state}", apart=False)
    for name, text in _facts(found):
        print_fact(name, text)
    if found.ticks:
        print_heading("latest ticks")
        print_table(_TICKS, [_tick_row(tick, found.status.tz) for tick in found.ticks])


def _facts(found: ScheduleDetails) -> Iterator[tuple[str, str]]:
    """What there is to say, most asked first; what nobody set is left out."""
    status = found.status

    def moment(value: datetime) -> str:
        return f"{wall(value, status.tz)} ({ago(value, status.now)})"

    yield "when", status.words
    if status.error:
        yield "error", status.error
    for name, at in (
        ("next", status.next_run_at),
        ("last", status.last_run_at),
        ("waits", found.queued_for),
        ("starts", found.start_at),
        ("ends", found.end_at),
    ):
        if at is not None:
            yield name, moment(at)
    if status.last_job_id is not None:
        yield "last job", str(status.last_job_id)
    yield "task", status.task
    yield "args", found.args
    runs = number(status.runs) + (f" of {number(found.max_runs)}" if found.max_runs else "")
    yield "runs", f"{runs}, {number(status.missed)} missed"
    most = f" (at most {found.misfire_max})" if status.misfire == "all" else ""
    yield "if missed", f"{status.misfire}{most}, after {exactly(found.grace)}"
    yield "if it runs", status.overlap
    if found.jitter:
        yield "jitter", f"up to {exactly(found.jitter)}"
    for name, text in (
        ("cron", status.cron),
        ("queue", found.queue),
        ("actor", found.actor),
        ("metadata", found.metadata),
        ("made by", status.source),
        ("zone data", found.tzdata),
    ):
        if text:
            yield name, text


def _tick_row(tick: TickRecord, tz: str) -> list[str]:
    at, outcome = wall(tick.at, tz), tick.outcome
    if tick.outcome == "missed":
        outcome = f"{number(tick.size)} missed, until {wall(tick.until, tz)}"
    return [at, outcome, "" if tick.job_id is None else str(tick.job_id)]


def wall(moment: datetime, tz: str) -> str:
    """A moment by the clocks of a zone (UTC if there is no such zone), with the day of the week."""
    try:
        local = moment.astimezone(find_zone(tz))
    except InvalidOption:
        local = moment.astimezone(UTC)
    return f"{local:%a} {local.isoformat(sep=' ', timespec='seconds')}"
