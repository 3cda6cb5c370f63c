"""Cron expressions, as a calendar of wall-clock times. Knows no zone and no clock.

croniter reads them and finds their days; the times within a day are a product of three lists, so
that times can be counted, not only walked. What the zone makes of them is in ``timing.py``.
"""

import re
from bisect import bisect_left
from datetime import date, datetime, time, timedelta
from typing import Any

from croniter import CroniterBadDateError, croniter

from pgqueue.errors import InvalidOption

LONGEST_TEXT = 200
LOOK_AHEAD = 50
"""Years within which an expression must match: a fifth Sunday in February may take forty."""

_DAY = timedelta(days=1)
_SOMEDAY = datetime(2024, 1, 1)
_FIRST, _LAST = date(1, 1, 2), date(9999 - LOOK_AHEAD, 1, 1)


class Cron:
    """A cron expression: the wall-clock times that it names, without a zone.

    Five fields, or six with *seconds*, the first being the seconds. Names in any case, ranges,
    steps, ``L``, ``#``, ``W``, ``@daily`` and its like, and ``H``: a place that *name* decides, so
    that not everything happens at the full hour. Day of month and day of week are joined by "or"
    when both are restricted, as cron has it.

    Raises :class:`InvalidOption` for what cannot be read, and for what names no day at all.
    """

    def __init__(self, text: str, *, name: str = "", seconds: bool = False) -> None:
        fields = _fields(text, seconds)
        hashed = name.encode() if any(field[0] in "hH" for field in fields) else None
        how = {"hash_id": hashed, "second_at_beginning": seconds}
        days = ["0", "0", *fields[-3:]]
        try:
            self.expanded, self.nth = croniter.expand(" ".join(fields), **how)
            self._days = croniter(
                " ".join(days), _SOMEDAY, hash_id=hashed, max_years_between_matches=LOOK_AHEAD
            )
            self._days.get_next(datetime)
        except CroniterBadDateError:
            raise InvalidOption(
                "cron", f"{text!r} names a day that does not come within {LOOK_AHEAD} years"
            ) from None
        except Exception as error:  # noqa: BLE001  whatever croniter makes of odd text
            raise InvalidOption("cron", f"{text!r} cannot be read: {error}") from None
        self.text = text
        self.fields = fields[-3:]
        minutes, hours = self.expanded[:2]
        self._times = _Times(
            _values(hours, 24),
            _values(minutes, 60),
            _values(self.expanded[5], 60) if seconds else [0],
        )
        self._every_day = all(field == ["*"] for field in self.expanded[2:5])
        times = zip(fields[:-3], [*self.expanded[5:6], minutes, hours], strict=True)
        self.is_open = any("/" in field or values == ["*"] for field, values in times)
        """Whether hour, minute or second is a wildcard or a step: then it follows elapsed time when
        clocks change, as an interval does; otherwise it happens once."""

    def at_or_after(self, wall: datetime) -> datetime:
        """Return the first time that is not before *wall*; raise OverflowError near year 9999."""
        day, index = wall.date(), self._times.before(_second_of_day(wall))
        if index == len(self._times) or not self._is_day(day):
            day, index = self._day_after(day), 0
        return self._time(day, index)

    def at_or_before(self, wall: datetime) -> datetime:
        """Return the last time that is not after *wall*."""
        day, index = wall.date(), self._times.before(_second_of_day(_just_after(wall)) or 86400)
        if index == 0 or not self._is_day(day):
            day, index = self._day_before(day), len(self._times)
        return self._time(day, index - 1)

    def count(self, begin: datetime, end: datetime) -> int:
        """Return how many times there are from *begin* up to, and without, *end*. Goes by days."""
        if end <= begin:
            return 0
        first, last = begin.date(), end.date()
        skipped = self._times.before(_second_of_day(begin)) if self._is_day(first) else 0
        partly = self._times.before(_second_of_day(end)) if self._is_day(last) else 0
        return self._count_days(first, last) * len(self._times) - skipped + partly

    def matches(self, wall: datetime) -> bool:
        """Whether *wall* is one of the times."""
        return self.at_or_after(wall) == wall

    def _time(self, day: date, index: int) -> datetime:
        return datetime.combine(day, time()) + timedelta(seconds=self._times[index])

    def _count_days(self, first: date, last: date) -> int:
        """Days from *first* up to, and without, *last*."""
        if self._every_day:
            return (last - first).days
        count, day = 0, first if self._is_day(first) else self._day_after(first)
        while day < last:
            count, day = count + 1, self._day_after(day)
        return count

    def _is_day(self, day: date) -> bool:
        return self._every_day or self._day_after(day - _DAY) == day

    def _day_after(self, day: date) -> date:
        if day > _LAST:
            raise OverflowError(f"no calendar goes that far: {day}")
        if self._every_day:
            return day + _DAY
        found: datetime = self._days.get_next(datetime, datetime.combine(day, time()))
        return found.date()

    def _day_before(self, day: date) -> date:
        if day < _FIRST:
            raise OverflowError(f"no calendar goes that far: {day}")
        if self._every_day:
            return day - _DAY
        found: datetime = self._days.get_prev(datetime, datetime.combine(day, time()))
        return found.date()


class _Times:
    """The times of a day, in seconds: every hour with every minute with every second."""

    def __init__(self, hours: list[int], minutes: list[int], seconds: list[int]) -> None:
        self._lists = ((hours, 3600), (minutes, 60), (seconds, 1))

    def __len__(self) -> int:
        size = 1
        for values, _ in self._lists:
            size *= len(values)
        return size

    def __getitem__(self, index: int) -> int:
        second, size = 0, len(self)
        for values, unit in self._lists:
            size //= len(values)
            place, index = divmod(index, size)
            second += values[place] * unit
        return second

    def before(self, second: int) -> int:
        """How many of the times are before this *second* of the day."""
        count, size = 0, len(self)
        for values, unit in self._lists:
            size //= len(values)
            value, second = divmod(second, unit)
            place = bisect_left(values, value)
            count += place * size
            if place == len(values) or values[place] != value:
                break
        return count


def _fields(text: object, seconds: bool) -> list[str]:
    """Return the fields of *text*; refuse what is no expression of ours, whatever croniter says."""
    if not isinstance(text, str) or not 1 <= len(text) <= LONGEST_TEXT:
        raise InvalidOption(
            "cron", f"must be text of 1 to {LONGEST_TEXT} characters, not {text!r:.80}"
        )
    fields = text.split()
    if len(fields) == 1 and fields[0].startswith("@"):
        fields = _ALIASES.get(fields[0].lower(), "").split()
        if not fields:
            known = ", ".join(_ALIASES)
            raise InvalidOption("cron", f"{text!r} is none of {known}")
        return ["0", *fields] if seconds else fields
    if any(field[0] in "rR" for field in fields):
        raise InvalidOption(
            "cron", f"{text!r}: R would be another time at every look; H is one that stays"
        )
    for low, high in _RANGE.findall(text):
        if low.lower() == high.lower():
            raise InvalidOption(
                "cron",
                f"{text!r}: {low}-{high} is everything to some and {low} to others; say which",
            )
    if len(fields) == 6 and not seconds:
        raise InvalidOption(
            "cron", f"{text!r} has six fields; if the first are the seconds, say seconds='first'"
        )
    if len(fields) != (6 if seconds else 5):
        wanted = "six fields: seconds, " if seconds else "five fields: "
        raise InvalidOption(
            "cron",
            f"{text!r} must have {wanted}minute, hour, day of month, month and day of week",
        )
    return fields


_RANGE = re.compile(r"(?<![\w#])(\w+)-(\w+)", re.ASCII)
_ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


def _values(field: list[Any], size: int) -> list[int]:
    return list(range(size)) if field == ["*"] else sorted(field)


def _second_of_day(wall: datetime) -> int:
    """The first whole second of the day that is not before *wall*."""
    return wall.hour * 3600 + wall.minute * 60 + wall.second + (wall.microsecond > 0)


def _just_after(wall: datetime) -> datetime:
    return wall + timedelta(microseconds=1)
