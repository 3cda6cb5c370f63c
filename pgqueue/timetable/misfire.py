"""Which ticks of a schedule run now, and which are over: the policies for what was missed."""

from datetime import datetime, timedelta
from typing import NamedTuple

from pgqueue.timetable.schedule import Misfire
from pgqueue.timetable.timing import Timing

AT_ONCE = 100
"""So many ticks are run at one look, at most; the rest at the next one, without delay."""

_MOMENT = timedelta(microseconds=1)


class Rules(NamedTuple):
    """What a schedule says of its ticks beside when they are."""

    misfire: Misfire
    misfire_max: int
    grace: timedelta
    start_at: datetime | None
    end_at: datetime | None


class Gap(NamedTuple):
    """Ticks that never ran."""

    first: datetime
    last: datetime
    size: int
    reason: str


class Due(NamedTuple):
    """What is to be done about a schedule at one look."""

    ticks: tuple[datetime, ...]
    """To run now, in order."""
    gap: Gap | None
    """Not to run at all: all of it before the ticks."""
    ticked_until: datetime
    """Up to here, and with this moment, every tick is dealt with."""
    next_run_at: datetime | None
    """The next tick; None: there will be none."""


def judge(timing: Timing, rules: Rules, *, ticked_until: datetime, now: datetime) -> Due:
    """Judge the ticks that are later than *ticked_until* and not later than *now*.

    *now* is the database's. Nothing is walked through that is not run: the last tick is found from
    behind, those between are counted.
    """
    begin = ticked_until
    if rules.start_at is not None:
        begin = max(begin, rules.start_at - _MOMENT)
    until = now if rules.end_at is None else min(now, rules.end_at)
    skipped_until = _skipped_until(timing, rules, begin, until, now)
    gap = None
    if skipped_until is not None and skipped_until > begin:
        count = timing.count(begin, skipped_until)
        gap = Gap(timing.next(begin), skipped_until, count, "missed")
        begin = skipped_until
    ticks: list[datetime] = []
    following = timing.next(begin)
    while following <= until and len(ticks) < AT_ONCE:
        ticks.append(following)
        following = timing.next(following)
    done = ticks[-1] if ticks else gap.last if gap else ticked_until
    ends = rules.end_at is not None and following > rules.end_at
    return Due(tuple(ticks), gap, done, None if ends else following)


def _skipped_until(
    timing: Timing, rules: Rules, begin: datetime, until: datetime, now: datetime
) -> datetime | None:
    """Return the last tick that is not to run, as the policy has it."""
    missed = timing.latest(min(until, now - rules.grace - _MOMENT), begin)
    if missed is None or rules.misfire is Misfire.SKIP:
        return missed
    if rules.misfire is Misfire.ONE:
        latest = timing.latest(until, begin)
        assert latest is not None
        return timing.latest(latest - _MOMENT, begin)
    if timing.count(begin, missed) <= rules.misfire_max:
        return None
    last: datetime | None = missed
    for _ in range(rules.misfire_max):
        assert last is not None
        last = timing.latest(last - _MOMENT, begin)
    return last
