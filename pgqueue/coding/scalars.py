"""Values that JSON has no word for, such as dates: each a tag and the plain value under it."""

import base64
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

_Clock = TypeVar("_Clock", datetime, time)


class Refused(Exception):
    """A value cannot be stored exactly. *steps* lead to it; they are added on the way out."""

    def __init__(self, problem: str, advice: str) -> None:
        self.problem, self.advice = problem, advice
        self.steps: list[str] = []


def _store_clock(value: datetime | time) -> Any:
    """ISO text; or ``[text without zone, zone, fold]`` where text alone would lose one of them."""
    zone = value.tzinfo
    if isinstance(zone, ZoneInfo) and zone.key:
        return [value.replace(tzinfo=None).isoformat(), zone.key, value.fold]
    if zone is not None:
        offset = value.utcoffset()
        if offset is None:
            raise Refused(f"a time zone without an offset, {type(zone).__name__}", "use a ZoneInfo")
        if offset.microseconds:
            # fromisoformat reads an offset of less than a second as none.
            return [value.replace(tzinfo=None).isoformat(), _store_timedelta(offset), value.fold]
    return [value.isoformat(), None, value.fold] if value.fold else value.isoformat()


def _clock_of(kind: type[_Clock]) -> Callable[[Any], _Clock]:
    def read(stored: Any) -> _Clock:
        if isinstance(stored, str):
            return kind.fromisoformat(stored)
        text, zone, fold = stored
        value = kind.fromisoformat(text).replace(fold=fold)
        if isinstance(zone, list):
            return value.replace(tzinfo=timezone(_read_timedelta(zone)))
        return value if zone is None else value.replace(tzinfo=ZoneInfo(zone))

    return read


def _store_timedelta(value: timedelta) -> list[int]:
    return [value.days, value.seconds, value.microseconds]


def _read_timedelta(stored: Any) -> timedelta:
    days, seconds, microseconds = stored
    return timedelta(days, seconds, microseconds)


def _text(stored: Any) -> str:
    if not isinstance(stored, str):
        raise TypeError(f"text expected, found {type(stored).__name__}")
    return stored


TAGS: dict[type, tuple[str, Callable[[Any], Any]]] = {
    datetime: ("$datetime", _store_clock),
    date: ("$date", date.isoformat),
    time: ("$time", _store_clock),
    timedelta: ("$timedelta", _store_timedelta),
    Decimal: ("$decimal", str),
    UUID: ("$uuid", str),
    bytes: ("$bytes", lambda value: base64.b64encode(value).decode("ascii")),
}
"""Type -> its tag, and what is stored under it. Exact types: a subclass may hold more."""

READERS: dict[str, Callable[[Any], Any]] = {
    "$datetime": _clock_of(datetime),
    "$date": date.fromisoformat,
    "$time": _clock_of(time),
    "$timedelta": _read_timedelta,
    "$decimal": lambda stored: Decimal(_text(stored)),
    "$uuid": lambda stored: UUID(_text(stored)),
    "$bytes": lambda stored: base64.b64decode(_text(stored), validate=True),
    "$int": lambda stored: int(_text(stored), 16),
}
"""Tag -> the value of what is stored under it; raises anything for what was never stored by us."""
