"""Ticks schedules: looks which are due by the database's clock, and has their jobs made."""

import logging
from datetime import datetime

import psycopg

from pgqueue.errors import InvalidOption
from pgqueue.storage import schedules
from pgqueue.storage.schedules import Seen
from pgqueue.timetable.misfire import Due, judge
from pgqueue.timetable.schedule import words_of
from pgqueue.timetable.zones import tzdata_version
from pgqueue.worker.clock import boottime
from pgqueue.worker.session import Session

log = logging.getLogger("pgqueue.schedules")

LIMIT = 100
_TICK = 1.0
_HOUR = 3600.0
_LEAST = 0.001
_OF_THE_ROW = ("22", "23", "54", "P0")
"""SQLSTATE classes that say: it is this schedule, and would be tomorrow."""


class Ticker:
    """One of many: every worker ticks, no matter how many there are.

    It looks without a lock, computes, and says what it saw when it writes: of several that saw the
    same, the first wins. A schedule that cannot be ticked does not keep the others.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._unknown: set[str] = set()

    async def tick(self) -> float:
        """Tick what is due; return in how many seconds to look again."""
        await self._session.run(schedules.run_queued(limit=LIMIT))
        look = await self._session.run(schedules.look(limit=LIMIT))
        looked_at = boottime()
        waits = [_TICK] if look.next_in_ms is None else [_TICK, look.next_in_ms / 1000]
        for seen in look.due:
            next_run_at = await self._tick_one(seen, look.now)
            if next_run_at is not None:
                waits.append((next_run_at - look.now).total_seconds())
                if len(look.due) >= LIMIT:
                    waits.append(0.0)  # there may be more, and this got somewhere
        return max(min(waits) - (boottime() - looked_at), _LEAST)

    async def recompute(self) -> float:
        """See to it that every next tick is by zone data that is at least as new as ours."""
        names = await self._session.run(schedules.recompute(tzdata=tzdata_version()))
        if names:
            log.info("zone data %s: found the next ticks of %s anew", tzdata_version(), names)
        return _HOUR

    async def _tick_one(self, seen: Seen, now: datetime) -> datetime | None:
        """Tick one schedule; return when it is next due, if it was this worker that moved it on."""
        try:
            timing = seen.timing()
            due = judge(timing, seen.rules, ticked_until=seen.ticked_until, now=now)
            words = words_of(timing)
        except (InvalidOption, OverflowError) as error:
            await self._give_up(seen, error)
            return None
        tick = schedules.tick(seen, due, words=words, tzdata=tzdata_version())
        try:
            ticked = await self._session.run(tick)
        except psycopg.Error as error:
            if not self._session.is_open or (error.sqlstate or "")[:2] not in _OF_THE_ROW:
                raise
            await self._give_up(seen, error)
            return None
        if ticked is None:
            return None
        self._report(seen, due)
        return due.next_run_at

    async def _give_up(self, seen: Seen, error: Exception) -> None:
        """Disable a schedule that nobody can tick. One that was ticked before, somebody can: this
        worker's zone data may just be older."""
        problem = " ".join(str(error).split())
        if seen.tzdata is not None and isinstance(error, InvalidOption):
            if seen.name not in self._unknown:
                log.error("schedule %s: left to other workers: %s", seen.name, problem)
                self._unknown.add(seen.name)
            return
        if await self._session.run(schedules.fail(seen, problem)):
            log.error("schedule %s is disabled: %s", seen.name, problem)

    def _report(self, seen: Seen, due: Due) -> None:
        if due.gap is not None:
            log.warning(
                "schedule %s: %d ticks from %s to %s will not run: no worker was there in time",
                seen.name,
                due.gap.size,
                due.gap.first,
                due.gap.last,
            )
