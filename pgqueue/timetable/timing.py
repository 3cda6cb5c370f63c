"""When a schedule is due: its ticks, as moments in UTC. Jumps, never walks.

**When clocks change**, a cron with fixed hours and minutes happens once: at the first of two equal
wall-clock times, and, where its time is left out, at the first moment after the gap. One with a
wildcard or a step in them (``*/30``, ``0 * * * *``) happens whenever the clocks show such a time:
it follows elapsed time, twice through the hour that comes twice.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from pgqueue.timetable.cron import Cron
from pgqueue.timetable.zones import FOLD, Stretch, stretches_back, stretches_from

_TICK = timedelta(microseconds=1)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Timing(Protocol):
    """The ticks of a schedule, without beginning or end."""

    def next(self, after: datetime) -> datetime:
        """Return the first tick after this moment."""

    def latest(self, until: datetime, after: datetime) -> datetime | None:
        """Return the last tick that is not later than *until*, if it is later than *after*."""

    def count(self, after: datetime, until: datetime) -> int:
        """Return how many ticks are later than *after* and not later than *until*."""


def upcoming(
    timing: Timing, *, after: datetime, until: datetime | None, count: int
) -> list[datetime]:
    """Return the next *count* ticks later than *after*, or as many as there are before the end."""
    ticks: list[datetime] = []
    tick = timing.next(after)
    while len(ticks) < count and (until is None or tick <= until):
        ticks.append(tick)
        tick = timing.next(tick)
    return ticks


@dataclass(frozen=True, slots=True)
class Every:
    """A tick every so often, counted from *origin*."""

    interval: timedelta
    origin: datetime = EPOCH

    def next(self, after: datetime) -> datetime:
        return self.origin + ((after - self.origin) // self.interval + 1) * self.interval

    def latest(self, until: datetime, after: datetime) -> datetime | None:
        tick = self.origin + (until - self.origin) // self.interval * self.interval
        return tick if tick > after else None

    def count(self, after: datetime, until: datetime) -> int:
        past = (after - self.origin) // self.interval
        return max(0, (until - self.origin) // self.interval - past)


@dataclass(frozen=True, slots=True)
class CronTiming:
    """The ticks of a cron expression by the clocks of a zone."""

    cron: Cron
    zone: ZoneInfo

    def next(self, after: datetime) -> datetime:
        for stretch in stretches_from(self.zone, after):
            if stretch.begins > after and self._is_shifted_to(stretch):
                return stretch.begins
            begin = max(self._first_wall(stretch), stretch.wall(after + _TICK))
            tick = stretch.moment(self.cron.at_or_after(begin))
            if tick < stretch.ends:
                return tick
            if stretch.begins - after > FOLD and tick - stretch.ends > 2 * FOLD:
                # Nothing in between, and no fold that could show a time again.
                return self.next(tick - 2 * FOLD)
        raise OverflowError(f"{self.cron.text!r} has no tick after {after}")

    def latest(self, until: datetime, after: datetime) -> datetime | None:
        for stretch in stretches_back(self.zone, until):
            end = stretch.wall(min(until, stretch.ends - _TICK))
            begin = self._first_wall(stretch)
            if end >= begin and (wall := self.cron.at_or_before(end)) >= begin:
                tick = stretch.moment(wall)
                return tick if tick > after else None
            if self._is_shifted_to(stretch):
                return stretch.begins if stretch.begins > after else None
            if stretch.begins <= after:
                break
        return None

    def count(self, after: datetime, until: datetime) -> int:
        total = 0
        for stretch in stretches_from(self.zone, after):
            if stretch.begins > until:
                break
            if stretch.begins > after and self._is_shifted_to(stretch):
                total += 1
            begin = max(self._first_wall(stretch), stretch.wall(after + _TICK))
            end = stretch.wall(min(until + _TICK, stretch.ends))
            total += self.cron.count(begin, end)
        return total

    def is_shifted(self, tick: datetime) -> bool:
        """Whether the wall-clock time meant did not exist, so that *tick* is the first after it."""
        stretch = next(stretches_from(self.zone, tick))
        return stretch.begins == tick and self._is_shifted_to(stretch)

    def _first_wall(self, stretch: Stretch) -> datetime:
        """The first wall-clock time of the stretch that counts: fixed ones come once in a fold."""
        if self.cron.is_open:
            return stretch.wall_begins
        return max(stretch.wall_begins, stretch.wall_before)

    def _is_shifted_to(self, stretch: Stretch) -> bool:
        """Whether a fixed time fell into the gap before the stretch, and so happens as it begins;
        unless that is one of the times itself."""
        return (
            not self.cron.is_open
            and stretch.wall_before < stretch.wall_begins
            and self.cron.count(stretch.wall_before, stretch.wall_begins) > 0
            and not self.cron.matches(stretch.wall_begins)
        )
