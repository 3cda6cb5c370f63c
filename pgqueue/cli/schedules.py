"""``schedules``: what is enqueued again and again, and when next."""

import click

from pgqueue.cli.database import perform
from pgqueue.cli.human import ago, duration, number
from pgqueue.cli.output import Column, print_json, print_table, tell, visible
from pgqueue.cli.params import Name, json_option
from pgqueue.cli.schedule_details import details_of, print_details, wall
from pgqueue.storage.schedule_listing import ScheduleStatus, list_schedules, show_schedule
from pgqueue.timetable.timing import CronTiming, upcoming
from pgqueue.timetable.zones import find_zone

_COLUMNS = (
    Column("SCHEDULE", elastic=True),
    Column("STATE", colour=lambda cell: {"error": "red", "disabled": "yellow"}.get(cell)),
    Column("WHEN", elastic=True),
    Column("NEXT"),
    Column("LAST"),
    Column("RUNS", right=True),
    Column("MISSED", right=True, colour=lambda cell: None if cell == "0" else "yellow"),
    Column("", elastic=True, colour=lambda cell: "red" if cell else None),
)
_NEXT = (Column("TICK"), Column("IN"), Column("", elastic=True))

_SHIFTED = "the clocks leave out its time"

_name = click.argument("name", type=Name(200))


@click.group()
def schedules() -> None:
    """See when jobs are enqueued by themselves, and steer it."""


@schedules.command(
    name="list",
    epilog="""
\b
Examples:
  pgqueue schedules list
  pgqueue schedules list --json | jq '.schedules[] | select(.late > 60)'
\b
MISSED ticks never ran: nobody was there in time. See them with
schedules show.
""",
)
@json_option
def list_all(as_json: bool) -> None:
    """Show every schedule, the next one first."""
    found = perform(list_schedules())
    if as_json:
        print_json({"schedules": found})
    elif not found:
        click.echo("no schedules yet: declare one with @tasks.cron, or make one with schedule()")
    else:
        print_table(_COLUMNS, [_row(each) for each in found])


@schedules.command(
    epilog="""
\b
Example:
  pgqueue schedules show daily-report
"""
)
@_name
@json_option
def show(name: str, as_json: bool) -> None:
    """Show everything about the schedule NAME, and its latest ticks."""
    found = perform(show_schedule(name))
    if as_json:
        print_json(details_of(found))
    else:
        print_details(found)


@schedules.command(
    name="next",
    epilog="""
\b
Examples:
  pgqueue schedules next daily-report
  pgqueue schedules next daily-report -n 3 --json
""",
)
@_name
@click.option(
    "-n", "count", type=click.IntRange(1, 1000), default=10, show_default=True, help="How many."
)
@json_option
def show_next(name: str, count: int, as_json: bool) -> None:
    """Show when the schedule NAME is due next, by the clocks of its zone.

    Whatever its state: what it would do if it were enabled.
    """
    found = perform(show_schedule(name, ticks=0))
    timing, status = found.timing(), found.status
    ticks = upcoming(timing, after=found.looks_from, until=found.end_at, count=count)
    shifted = [isinstance(timing, CronTiming) and timing.is_shifted(tick) for tick in ticks]
    walls = [tick.astimezone(find_zone(status.tz)) for tick in ticks]
    if as_json:
        print_json({
            "name": name,
            "words": status.words,
            "tz": status.tz,
            "ticks": [
                {"at": tick, "local": local.isoformat(), "shifted": moved}
                for tick, local, moved in zip(ticks, walls, shifted, strict=True)
            ],
        })  # fmt: skip
        return
    click.echo(visible(status.words))
    print_table(
        _NEXT,
        [
            [wall(tick, status.tz), ago(tick, status.now), _SHIFTED if moved else ""]
            for tick, moved in zip(ticks, shifted, strict=True)
        ],
    )
    if status.state != "enabled":
        tell(f"but the schedule is {_STATES[status.state]}")


_STATES = {
    "disabled": "disabled",
    "ended": "over",
    "error": "disabled, for it cannot be understood",
}


def _row(schedule: ScheduleStatus) -> list[str]:
    return [
        schedule.name,
        schedule.state,
        schedule.words,
        ago(schedule.next_run_at, schedule.now) if schedule.next_run_at else "",
        ago(schedule.last_run_at, schedule.now) if schedule.last_run_at else "",
        number(schedule.runs),
        number(schedule.missed),
        schedule.error or (f"late by {duration(schedule.late)}" if schedule.late else ""),
    ]
