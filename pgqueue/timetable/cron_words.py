"""A schedule's timing in words: ``0 9 * * mon-fri`` is "at 09:00 on Monday to Friday"."""

import calendar
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from pgqueue.timetable.cron import Cron

_ORDINALS = ("first", "second", "third", "fourth", "fifth")
_FEW = 6
"""So many times of a day are named one by one."""


def describe(cron: Cron) -> str:
    """Say when *cron* happens.

    >>> describe(Cron("*/15 9-17 * * mon-fri"))
    'every 15 minutes from 09:00 to 17:59 on Monday to Friday'
    >>> describe(Cron("0 9,17 1,L * *"))
    'at 09:00 and 17:00 on day 1 and the last day of the month'
    >>> describe(Cron("30 2 * 1 fri#3"))
    'at 02:30 on the third Friday of the month in January'
    """
    minutes, hours, days, months, weekdays = cron.expanded[:5]
    seconds = cron.expanded[5] if len(cron.expanded) > 5 else [0]
    times = _times(_all(hours, 24), _all(minutes, 60), _all(seconds, 60))
    on_days = _days(days, cron.fields[0], months)
    on_weekdays = _weekdays(weekdays, cron.nth)
    dates = " or ".join(part for part in (on_days, on_weekdays) if part)
    if months != ["*"]:
        named = _listed(months, lambda month: calendar.month_name[month])
        dates = f"{dates} in {named}" if dates else f"in {named}"
    if dates:
        return f"{times} {dates}"
    return times if "every" in times else f"{times} every day"


def describe_interval(interval: timedelta) -> str:
    """Say how often.

    >>> describe_interval(timedelta(minutes=90)), describe_interval(timedelta(hours=1))
    ('every 90 minutes', 'every hour')
    """
    seconds = interval.total_seconds()
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        if seconds % size == 0:
            return _every(int(seconds // size), unit)
    return f"every {seconds:g} seconds"


def _times(hours: list[int], minutes: list[int], seconds: list[int]) -> str:
    if len(hours) * len(minutes) * len(seconds) <= _FEW:
        shown = ":%02d" if seconds != [0] else ""
        return "at " + _joined(
            f"{hour:02}:{minute:02}" + (shown % second if shown else "")
            for hour in hours
            for minute in minutes
            for second in seconds
        )
    parts = [_within_hour(minutes, seconds), _in_hours(hours, minutes)]
    if minutes == [0] and seconds == [0]:
        parts = [_in_hours(hours, minutes)]
    return " ".join(part for part in parts if part)


def _within_hour(minutes: list[int], seconds: list[int]) -> str:
    if seconds == [0]:
        return _steps(minutes, 60, "minute")
    text = _steps(seconds, 60, "second")
    if len(minutes) == 60:
        return text if text.startswith("every") else f"{text} of every minute"
    return f"{text} of minute {_listed(minutes)}"


def _in_hours(hours: list[int], minutes: list[int]) -> str:
    step = _step(hours, 24)
    if minutes == [0] and step:
        return _every(step, "hour")
    if len(hours) == 24:
        return "" if _step(minutes, 60) else "of every hour"
    if len(hours) > 1 and hours == list(range(hours[0], hours[-1] + 1)):
        whole = "every hour " if minutes == [0] else ""
        last = "00" if minutes == [0] else "59"
        return f"{whole}from {hours[0]:02}:00 to {hours[-1]:02}:{last}"
    if minutes == [0]:
        return "at " + _joined(f"{hour:02}:00" for hour in hours)
    return f"of hour {_listed(hours)}"


def _steps(values: list[int], size: int, unit: str) -> str:
    step = _step(values, size)
    return _every(step, unit) if step else f"at {unit} {_listed(values)}"


def _step(values: list[int], size: int) -> int | None:
    """The step, if *values* go evenly round and begin at 0."""
    step = size // len(values)
    return step if values == list(range(0, size, step)) and size % step == 0 else None


def _every(count: int, unit: str) -> str:
    return f"every {unit}" if count == 1 else f"every {count} {unit}s"


def _days(days: list[Any], text: str, months: list[Any]) -> str:
    if days == ["*"]:
        return ""
    of = "of the month" if months == ["*"] else ""
    if nearest := re.fullmatch(r"w(\d+)|(\d+)w", text, re.IGNORECASE):
        return f"on the weekday nearest to day {nearest[1] or nearest[2]} {of}".rstrip()
    numbers = [day for day in days if day != "l"]
    parts = [f"day {_listed(numbers)}"] if numbers else []
    if "l" in days:
        parts.append("the last day")
    return f"on {_joined(parts)} {of}".rstrip()


def _weekdays(weekdays: list[Any], nth: Mapping[int, set[Any]]) -> str:
    if weekdays == ["*"]:
        return ""
    if not nth:
        order = sorted((day - 1) % 7 for day in weekdays)
        return "on " + _listed(order, lambda day: calendar.day_name[day])
    return "on the " + _joined(
        f"{'last' if which == 'l' else _ORDINALS[which - 1]} {calendar.day_name[(day - 1) % 7]}"
        for day, places in sorted(nth.items())
        for which in sorted(places, key=str)
    ) + " of the month"  # fmt: skip


def _listed(values: Sequence[int], name: Any = str) -> str:
    """Name the values; three or more that follow each other as a range."""
    if len(values) > 2 and list(values) == list(range(values[0], values[-1] + 1)):
        return f"{name(values[0])} to {name(values[-1])}"
    return _joined(map(name, values))


def _joined(parts: Any) -> str:
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last


def _all(values: list[Any], size: int) -> list[int]:
    return list(range(size)) if values == ["*"] else sorted(values)
