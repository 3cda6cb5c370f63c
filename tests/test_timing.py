"""When a schedule is due, held against a calendar that walks every minute."""

import itertools
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter
from hypothesis import given, settings
from hypothesis import strategies as st

from pgqueue.errors import InvalidOption
from pgqueue.timetable.cron import Cron
from pgqueue.timetable.timing import CronTiming, Every
from pgqueue.timetable.zones import find_zone
from tests import brute_force
from tests.brute_force import Moment

# Half an hour's change, a change at midnight, odd offsets, both hemispheres, west of the date line.
ZONES = (
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/Santiago",
    "Atlantic/Azores",
    "Pacific/Chatham",
)
YEAR = 2026


@cache
def around_changes(key: str) -> tuple[list[Moment], ...]:
    """Two days and a half around each change of the clocks."""
    zone = ZoneInfo(key)
    span = timedelta(hours=30)
    return tuple(
        brute_force.walk(zone, change - span, change + span)
        for change in brute_force.changes(zone, YEAR)
    )


def timing(text: str, key: str, *, seconds: bool = False) -> CronTiming:
    return CronTiming(Cron(text, seconds=seconds), find_zone(key))


def found_by(timing: CronTiming, moments: list[Moment]) -> list[datetime]:
    """The ticks within *moments*, by going from one to the next."""
    begin, end = moments[0].utc, moments[-1].utc
    ticks = [begin]
    while ticks[-1] <= end:
        ticks.append(timing.next(ticks[-1]))
    return ticks[1:-1]


@pytest.mark.parametrize("key", ZONES)
def test_every_quarter_of_an_hour_around_both_changes_is_as_a_walk_finds_it(key: str) -> None:
    assert len(around_changes(key)) == 2
    for moments in around_changes(key):
        near = [each for each in moments if abs(each.utc - moments[1800].utc) <= timedelta(hours=3)]
        walls = {wall for each in near for wall in (each.wall, *each.left_out)}
        quarters = sorted({(wall.hour, wall.minute) for wall in walls if wall.minute % 15 == 0})
        assert len(quarters) >= 20
        for hour, minute in quarters:
            for text in (
                f"{minute} {hour} * * *",
                f"{minute} * * * *",
                f"{minute}-59/15 {hour} * * *",
                f"{minute} {hour},{(hour + 1) % 24} * * *",
                f"{minute} {hour % 2}-23/2 * * *",
            ):
                expected = brute_force.ticks(text, moments[1:])
                assert found_by(timing(text, key), moments) == expected, text


def test_a_fixed_time_happens_once_in_the_hour_that_comes_twice() -> None:
    nightly = timing("30 2 * * *", "Europe/Berlin")
    first = nightly.next(datetime(2026, 10, 24, 12, tzinfo=UTC))
    assert first == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert nightly.next(first) == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)


def test_a_fixed_time_that_does_not_exist_happens_as_soon_as_the_clocks_go_on() -> None:
    nightly = timing("30 2 * * *", "Europe/Berlin")
    tick = nightly.next(datetime(2026, 3, 28, 12, tzinfo=UTC))
    assert tick.astimezone(nightly.zone).isoformat() == "2026-03-29T03:00:00+02:00"
    assert nightly.is_shifted(tick)
    assert not nightly.is_shifted(nightly.next(tick))


def test_several_times_that_do_not_exist_happen_together_and_once() -> None:
    often = timing("0,15,30 2,3 29 3 *", "Europe/Berlin")
    begin, end = datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 3, 29, 6, tzinfo=UTC)
    shown = [often.next(begin)]
    while shown[-1] < end:
        shown.append(often.next(shown[-1]))
    walls = [tick.astimezone(often.zone).strftime("%H:%M") for tick in shown[:-1]]
    assert walls == ["03:00", "03:15", "03:30"]
    assert often.count(begin, end) == 3


def _part(least: int, most: int, one: int, other: int, step: int) -> str:
    size = most - least + 1
    low, high = sorted((least + one % size, least + other % size))
    if low == high:
        return str(low)
    return f"{low}-{high}/{step}" if step else f"{low}-{high}"


def field(least: int, most: int) -> st.SearchStrategy[str]:
    parts = st.lists(
        st.tuples(st.integers(0, 999), st.integers(0, 999), st.sampled_from([0, 0, 1, 2, 7])),
        min_size=1,
        max_size=3,
    )
    return st.one_of(
        st.just("*"),
        st.sampled_from(["*/2", "*/7"]),
        parts.map(lambda found: ",".join(_part(least, most, *each) for each in found)),
    )


EXPRESSIONS = st.tuples(
    field(0, 59), field(0, 23), st.just("*"), st.just("*"), st.one_of(st.just("*"), field(0, 6))
).map(" ".join)


@settings(max_examples=150, deadline=None)
@given(
    text=EXPRESSIONS,
    key=st.sampled_from(ZONES),
    which=st.integers(0, 1),
    begin=st.integers(1, 3500),
    length=st.integers(0, 1000),
)
def test_any_expression_is_as_a_walk_finds_it(
    text: str, key: str, which: int, begin: int, length: int
) -> None:
    """From any moment on: the next, the last before, and how many."""
    moments = around_changes(key)[which]
    length = min(length, len(moments) - 1 - begin)
    after, until = moments[begin].utc, moments[begin + length].utc
    everything = brute_force.ticks(text, moments)
    expected = [tick for tick in everything if after < tick <= until]
    cron = timing(text, key)

    assert cron.count(after, until) == len(expected)
    assert cron.latest(until, after) == (expected[-1] if expected else None)
    coming = [tick for tick in everything if tick > after]
    if coming:
        assert cron.next(after) == coming[0]
        assert cron.next(after + timedelta(microseconds=1)) == coming[0]
        assert cron.next(coming[0] - timedelta(microseconds=1)) == coming[0]
    else:
        assert cron.next(after) > moments[-1].utc


@settings(max_examples=150, deadline=None)
@given(
    day=st.sampled_from(["*", "1", "L", "13,L", "31", "15W", "10-20/3", "29"]),
    month=st.sampled_from(["*", "2", "JAN-mar", "*/5", "dec-feb"]),
    weekday=st.sampled_from(["*", "MON", "fri-mon", "FRI#3", "L5", "7", "?", "sun#5"]),
    time=st.tuples(field(0, 59), field(0, 23)),
    start=st.datetimes(datetime(2024, 1, 1), datetime(2032, 1, 1)),
)
def test_the_days_are_those_that_croniter_finds(
    day: str, month: str, weekday: str, time: tuple[str, str], start: datetime
) -> None:
    text = f"{time[0]} {time[1]} {day} {month} {weekday}"
    try:
        cron = Cron(text)
    except InvalidOption:
        return
    theirs = croniter(text, start)
    forward = [theirs.get_next(datetime) for _ in range(8)]
    assert list(itertools.islice(walk_forward(cron, start), 8)) == forward
    end = forward[-1]
    assert cron.at_or_before(end) == end
    assert cron.at_or_before(end - timedelta(microseconds=1)) == forward[-2]
    assert cron.count(forward[0], end) == 7
    assert cron.count(forward[3], end + timedelta(seconds=1)) == 5


def walk_forward(cron: Cron, wall: datetime):  # type: ignore[no-untyped-def]
    while True:
        wall = cron.at_or_after(wall + timedelta(microseconds=1))
        yield wall


def test_a_minute_schedule_a_year_behind_is_caught_up_with_by_jumping(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Days that are like all others are not looked at; of others, each once."""
    looks = 0
    find = croniter.get_next

    def counted(*args: object, **kwargs: object) -> object:
        nonlocal looks
        looks += 1
        return find(*args, **kwargs)

    monkeypatch.setattr(croniter, "get_next", counted)
    begin, end = datetime(2025, 11, 25, 12, tzinfo=UTC), datetime(2026, 11, 25, 12, tzinfo=UTC)
    for text, count, most in (("* * * * *", 525_600, 2), ("* * * * mon-fri", 375_840, 290)):
        looks = 0
        minutely = timing(text, "Europe/Berlin")
        assert minutely.count(begin, end) == count
        assert minutely.latest(end, begin) == end
        assert looks <= most


def test_a_day_that_is_decades_away_is_jumped_to() -> None:
    rare = timing("30 2 * 2 sun#5", "Europe/Berlin")
    first = rare.next(datetime(2026, 11, 25, tzinfo=UTC))
    assert first == datetime(2032, 2, 29, 1, 30, tzinfo=UTC)
    assert rare.next(first) == datetime(2060, 2, 29, 1, 30, tzinfo=UTC)


def test_seconds_come_first_where_they_are_asked_for() -> None:
    often = timing("*/20 0 9 * * *", "UTC", seconds=True)
    tick = often.next(datetime(2026, 11, 25, 9, 0, 20, tzinfo=UTC))
    assert tick == datetime(2026, 11, 25, 9, 0, 40, tzinfo=UTC)
    assert often.next(tick) == datetime(2026, 11, 26, 9, tzinfo=UTC)


def test_an_interval_counts_elapsed_time_from_its_origin() -> None:
    origin = datetime(2026, 3, 28, 10, 7, tzinfo=UTC)
    daily = Every(timedelta(hours=24), origin)
    assert daily.next(origin - timedelta(days=1)) == origin
    assert daily.next(origin) == origin + timedelta(days=1)
    assert daily.latest(origin + timedelta(days=3, hours=1), origin) == origin + timedelta(days=3)
    assert daily.count(origin, origin + timedelta(days=3)) == 3
    assert daily.latest(origin + timedelta(hours=1), origin) is None
    assert Every(timedelta(minutes=5)).next(origin) == origin + timedelta(minutes=3)


def test_acceptance_12_daily_nightly_and_weekly_go_over_changes_of_clocks_and_years() -> None:
    """09:00 in Tokyo, 02:00, and Mondays at 10:00."""
    report = timing("0 9 * * *", "Asia/Tokyo")
    ticks = [report.next(datetime(2026, 12, 30, 3, tzinfo=UTC))]
    ticks.append(report.next(ticks[-1]))
    ticks.append(report.next(ticks[-1]))
    walls = [tick.astimezone(report.zone).isoformat() for tick in ticks]
    assert walls == [f"{day}T09:00:00+09:00" for day in ("2026-12-31", "2027-01-01", "2027-01-02")]

    cleanup = timing("0 2 * * *", "America/New_York")
    assert cleanup.count(datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)) == 365

    weekly = timing("0 10 * * MON", "Europe/Berlin")
    tick = weekly.next(datetime(2026, 11, 24, tzinfo=UTC))
    assert tick.astimezone(weekly.zone).isoformat() == "2026-11-30T10:00:00+01:00"
    monday = timing("0 10 * * mon", "Europe/Berlin").next(datetime(2026, 12, 29, tzinfo=UTC))
    assert monday.astimezone(weekly.zone).isoformat() == "2027-01-04T10:00:00+01:00"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0 0 30 2 *", "does not come within 50 years"),
        ("0 0 31 4,6,9,11 *", "does not come"),
        ("*/0 * * * *", "step"),
        ("60 * * * *", "out of range"),
        ("R * * * *", "another time at every look"),
        ("0 r(1-5) * * *", "another time at every look"),
        ("0 0 9 * * 1-5", "seconds='first'"),
        ("0 0 9 * * 1-5 2027", "five fields"),
        ("0 9 * *", "five fields"),
        ("", "1 to 200 characters"),
        ("0 0 " + ",".join(["1"] * 100) + " * *", "1 to 200 characters"),
        ("@reboot", "none of @hourly"),
        ("0 0 * * XYZ", "cannot be read"),
        ("-5 * * * *", "cannot be read"),
        ("0 9-9 * * *", "9-9 is everything to some"),
        ("0 0 * Jan-jan *", "Jan-jan is everything to some"),
        ("0 0 * * mon#6", "cannot be read"),
        (None, "must be text"),
    ],
)
def test_what_is_no_expression_is_refused_in_a_sentence(text: str, said: str) -> None:
    with pytest.raises(InvalidOption, match=said.replace("(", r"\(")):
        Cron(text)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("0 0 * * MON", "0 0 * * 1"),
        ("0 0 * * Sun", "0 0 * * 7"),
        ("0 0 1 jAN-mar *", "0 0 1 1-3 *"),
        ("@daily", "0 0 * * *"),
        ("@Weekly", "0 0 * * 0"),
        ("0 0 * * mon-fri", "0 0 * * 1-5"),
    ],
)
def test_names_and_nicknames_are_read_in_any_case(text: str, same: str) -> None:
    start = datetime(2026, 1, 1)
    ours = itertools.islice(walk_forward(Cron(text), start), 20)
    assert list(ours) == list(itertools.islice(walk_forward(Cron(same), start), 20))


def test_a_nickname_is_what_it_says_whatever_the_schedule_is_called() -> None:
    assert Cron("@daily", name="x").at_or_after(datetime(2026, 1, 1)) == datetime(2026, 1, 1)


def test_h_spreads_schedules_by_their_names_and_stays() -> None:
    places = {
        Cron("H H * * *", name=f"report {n}").at_or_after(datetime(2026, 1, 1)) for n in range(50)
    }
    assert len(places) > 40
    again = [Cron("H/15 H(0-5) * * *", name="x").at_or_after(datetime(2026, 1, 1)) for _ in "ab"]
    assert again[0] == again[1]
    assert again[0].hour <= 5


@pytest.mark.parametrize(
    "key", ["Asia", "Nowhere/City", "", "../etc/passwd", "/etc/passwd", 9, "a\0b"]
)
def test_what_is_no_zone_is_refused_in_a_sentence(key: object) -> None:
    with pytest.raises(InvalidOption, match="there is no time zone"):
        find_zone(key)
