"""Time zones as stretches of time in which the clocks on the wall run evenly."""

import importlib.metadata
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple
from zoneinfo import TZPATH, ZoneInfo

from pgqueue.errors import InvalidOption

_DAY = timedelta(days=1)
FOLD = 2 * _DAY
"""Longer than any clock was ever turned back."""


class Stretch(NamedTuple):
    """From *begins* up to, and without, *ends*: moments in UTC between which the offset stays."""

    begins: datetime
    ends: datetime
    offset: timedelta
    before: timedelta
    """The offset of the stretch before."""

    @property
    def wall_begins(self) -> datetime:
        """What the clocks on the wall show at its first moment, without a zone."""
        return self.wall(self.begins)

    @property
    def wall_before(self) -> datetime:
        """What they would show if they had not been changed: later than :attr:`wall_begins` after a
        fold, earlier after a gap."""
        return self.begins.replace(tzinfo=None) + self.before

    def wall(self, moment: datetime) -> datetime:
        return moment.replace(tzinfo=None) + self.offset

    def moment(self, wall: datetime) -> datetime:
        return (wall - self.offset).replace(tzinfo=UTC)


def find_zone(key: object) -> ZoneInfo:
    """Return the zone of this IANA name. Raises :class:`InvalidOption` if there is none."""
    try:
        if isinstance(key, str):
            return ZoneInfo(key)
    except (KeyError, ValueError, OSError):
        pass
    raise InvalidOption("tz", f"there is no time zone {key!r:.80}; write it as Asia/Tokyo, or UTC")


def stretches_from(zone: ZoneInfo, moment: datetime) -> Iterator[Stretch]:
    """Yield the stretches from the one that holds *moment* on, without end."""
    begins = moment - FOLD  # far enough back to know of a fold, or a gap, that it may lie in
    before = _offset(zone, begins)
    for year in range(begins.year, 9990):
        for ends in _changes(zone, year):
            if ends <= begins:
                continue
            offset = _offset(zone, begins)
            if ends > moment:
                yield Stretch(begins, ends, offset, before)
            begins, before = ends, offset


def stretches_back(zone: ZoneInfo, moment: datetime) -> Iterator[Stretch]:
    """Yield the stretches from the one that holds *moment* back, without end."""
    ends = moment + FOLD
    for year in range(moment.year, 1, -1):
        for begins in reversed(_changes(zone, year)):
            if begins > moment:
                continue
            just_before = _offset(zone, begins - timedelta(seconds=1))
            yield Stretch(begins, ends, _offset(zone, begins), just_before)
            ends = begins


@lru_cache(maxsize=1000)
def _changes(zone: ZoneInfo, year: int) -> tuple[datetime, ...]:
    """The moments of a year at which the offset changes, after its first one, so that there is
    always one."""
    found = [datetime(year, 1, 1, tzinfo=UTC)]
    day, end = found[0], datetime(year + 1, 1, 1, tzinfo=UTC)
    while day < end:
        offset = _offset(zone, day)
        if _offset(zone, day + _DAY) != offset:
            found.append(_first_other(zone, day, offset))
        day += _DAY
    return tuple(dict.fromkeys(each for each in found if each < end))


def _first_other(zone: ZoneInfo, begin: datetime, offset: timedelta) -> datetime:
    """Find the second, within a day of *begin*, from which on the offset is another."""
    low, high = 0, 86400
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(zone, begin + timedelta(seconds=middle)) == offset:
            low = middle
        else:
            high = middle
    return begin + timedelta(seconds=high)


def _offset(zone: ZoneInfo, moment: datetime) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()


@cache
def tzdata_version() -> str:
    """Return the version of the zone data in use, such as ``2026a``: later ones sort later.

    Python takes the system's data, and the package ``tzdata`` where there is none. Empty: a system
    that does not say.
    """
    for folder in map(Path, TZPATH):
        if not (folder / "Etc" / "UTC").exists():
            continue
        with suppress(OSError), (folder / "tzdata.zi").open(encoding="ascii") as source:
            return source.readline().split()[-1]  # "# version 2026a"
        with suppress(OSError):
            return (folder / "+VERSION").read_text(encoding="ascii").strip()
        return ""
    with suppress(importlib.metadata.PackageNotFoundError):
        year, number = importlib.metadata.version("tzdata").split(".")[:2]
        return f"{year}{chr(ord('a') + int(number) - 1)}"
    return ""
