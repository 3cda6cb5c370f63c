"""A calendar that walks: each minute of UTC, and what the clocks of a zone show at it.

It shares no code and no thought with the product: fields are sets, and clock changes are seen, not
computed."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)
_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))


class Moment(NamedTuple):
    """A minute, and what the clocks show then and showed just before it would have been due."""

    utc: datetime
    wall: datetime
    left_out: tuple[datetime, ...]
    """The minutes that no clock shows, because it was put forward to this one."""


def walk(zone: ZoneInfo, begin: datetime, end: datetime) -> list[Moment]:
    """Every minute from *begin* to *end*, in order."""
    found: list[Moment] = []
    moment = begin
    while moment <= end:
        wall = moment.astimezone(zone).replace(tzinfo=None, fold=0)
        left_out: list[datetime] = []
        if found:
            missing = found[-1].wall + MINUTE
            while missing < wall:
                left_out.append(missing)
                missing += MINUTE
        found.append(Moment(moment, wall, tuple(left_out)))
        moment += MINUTE
    return found


def ticks(text: str, moments: list[Moment]) -> list[datetime]:
    """What a cron expression of numbers, lists, ranges and steps comes to in these minutes."""
    fields = [_values(field, *limits) for field, limits in zip(text.split(), _RANGES, strict=True)]
    minute, hour = text.split()[:2]
    is_open = any("*" in field or "/" in field for field in (minute, hour)) or (
        len(fields[0]) == 60 or len(fields[1]) == 24
    )
    found, seen = [], set()
    for moment in moments:
        if is_open:
            happens = _matches(moment.wall, text, fields)
        else:
            meant = {each for each in (*moment.left_out, moment.wall) if each not in seen}
            happens = any(_matches(each, text, fields) for each in meant)
            seen |= meant
        if happens:
            found.append(moment.utc)
    return found


def changes(zone: ZoneInfo, year: int) -> Iterator[datetime]:
    """The moments of *year* at which the clocks are changed."""
    moment = datetime(year, 1, 1, tzinfo=UTC)
    offset = moment.astimezone(zone).utcoffset()
    while moment.year == year:
        now = moment.astimezone(zone).utcoffset()
        if now != offset:
            yield moment
        offset = now
        moment += timedelta(minutes=15)


def _matches(wall: datetime, text: str, fields: list[set[int]]) -> bool:
    minutes, hours, days, months, weekdays = fields
    if wall.minute not in minutes or wall.hour not in hours or wall.month not in months:
        return False
    by_day, by_weekday = wall.day in days, wall.isoweekday() % 7 in weekdays
    _, _, day, _, weekday = text.split()
    if day == "*" or weekday == "*":
        return by_day and by_weekday
    return by_day or by_weekday


def _values(field: str, least: int, most: int) -> set[int]:
    found: set[int] = set()
    for part in field.split(","):
        body, _, step = part.partition("/")
        first, _, last = body.partition("-")
        begin = least if body == "*" else int(first)
        end = most if body == "*" or (step and not last) else int(last or first)
        found |= set(range(begin, end + 1, int(step or 1)))
    return found
