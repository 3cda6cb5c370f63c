"""What may be said of a schedule, before any database is asked."""

import doctest
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from pgqueue import (
    Context,
    DuplicateSchedule,
    InvalidOption,
    NewJob,
    NewSchedule,
    Overlap,
    Tasks,
)
from pgqueue.job import Job
from pgqueue.timetable import cron_words
from pgqueue.timetable.cron import Cron
from pgqueue.timetable.cron_words import describe

pytestmark = pytest.mark.smoke

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


def new(**how: Any) -> NewSchedule:
    how = {"name": "s", "job": NewJob("t"), "cron": "0 9 * * *", **how}
    return NewSchedule(**how)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"every": 60}, "either cron or every"),
        ({"cron": None}, "either cron or every"),
        ({"cron": "0 0 30 2 *"}, "does not come"),
        ({"cron": "0 0 9 * * *"}, "seconds='first'"),
        ({"seconds": "last"}, "seconds: is 'first'"),
        ({"cron": None, "every": 60, "seconds": "first"}, "belongs to cron"),
        ({"cron": None, "every": 0.5}, "every: must be from 1 s"),
        ({"tz": "Berlin"}, "no time zone 'Berlin'"),
        ({"tz": None}, "no time zone"),
        ({"misfire": "maybe"}, "misfire: is one of skip, one, all"),
        ({"misfire_max": 0}, "misfire_max"),
        ({"misfire_max": True}, "misfire_max"),
        ({"overlap": "maybe"}, "overlap: is one of skip, allow, queue_one, cancel_previous"),
        ({"grace": 1}, "grace: must be from 5 s"),
        ({"jitter": -1}, "jitter"),
        ({"jitter": 90000}, "jitter"),
        ({"start_at": datetime(2026, 1, 1)}, "start_at: must be a datetime with a time zone"),
        ({"start_at": NOON, "end_at": NOON - timedelta(1)}, "end_at: is before start_at"),
        ({"end_at": datetime(9999, 1, 1, tzinfo=UTC)}, "end_at: must be from 1970 to 9000"),
        ({"max_runs": 0}, "max_runs"),
        ({"name": ""}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"job": NewJob("t", key="k")}, "key: schedule 's'"),
        ({"job": NewJob("t", delay=5)}, "delay: schedule 's'"),
        ({"job": NewJob("t", run_at=NOON)}, "run_at: schedule 's'"),
        ({"job": NewJob("t", expires=NOON)}, "expires: must be a length of time"),
        ({"job": NewJob("t", metadata={"schedule": 1})}, "metadata"),
    ],
)
def test_what_cannot_be_is_refused_when_it_is_said(how: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidOption, match=said.replace("(", r"\(")):
        new(**how)


@pytest.mark.parametrize(
    "moment", [datetime(2026, 11, 25, 9, tzinfo=UTC), datetime(2026, 11, 25, 9), date(2026, 11, 25)]
)
def test_a_moment_that_would_stay_the_same_is_refused_as_an_argument(moment: Any) -> None:
    """``{date: new Date()}`` at registration is the date of the deployment, for ever."""
    tasks = Tasks()

    @tasks.task("report")
    def report(days: Any) -> None: ...

    with pytest.raises(InvalidOption, match=r"would call 'report' with the date.*scheduled_for"):
        tasks.cron("@daily", args={"days": [{"of": moment}]})(report)
    tasks.cron("@daily", args={"days": moment.isoformat()})(report)


def test_catching_up_with_all_is_not_undone_by_the_default_overlap() -> None:
    assert new().overlap is Overlap.SKIP
    assert new(misfire="all").overlap is Overlap.ALLOW
    assert new(misfire="all", overlap="skip").overlap is Overlap.SKIP


def test_a_declaration_binds_a_registered_task_and_its_arguments() -> None:
    tasks = Tasks(timezone="Europe/Berlin")

    @tasks.cron("0 10 * * MON", args={"n": 1}, queue="reports", misfire="skip")
    @tasks.task("weekly", queue="default")
    def weekly(ctx: Context, n: int) -> int:
        return n

    declared = tasks.schedules["weekly"]
    assert (declared.tz, declared.cron) == ("Europe/Berlin", "0 10 * * MON")
    assert (declared.job.args, declared.job.queue) == ('{"n":1}', "reports")
    with pytest.raises(DuplicateSchedule, match="needs a name"):
        tasks.cron("@daily", args={"n": 2})(weekly)
    tasks.cron("@daily", args={"n": 2}, name="daily")(weekly)
    with pytest.raises(TypeError, match="weekly"):
        tasks.cron("@daily", args={"m": 2}, name="wrong")(weekly)
    with pytest.raises(InvalidOption, match=r"above @tasks\.task"):
        tasks.cron("@daily")(lambda: None)  # type: ignore[arg-type]
    assert sorted(tasks.schedules) == ["daily", "weekly"]


def context(metadata: str | None, scheduled_for: datetime | None) -> Context:
    job = Job(
        1, 1, "q", "t", 100, NOON, NOON, 0, 0, 5, 3, None, None, "{}", metadata, scheduled_for
    )
    return Context(job)


def test_a_handler_is_told_its_tick_by_the_clocks_of_the_schedule() -> None:
    tick = datetime(2026, 11, 24, 17, tzinfo=UTC)
    tokyo = context('{"schedule": {"name": "s", "tz": "Asia/Tokyo"}}', tick).scheduled_for
    assert tokyo is not None
    assert tokyo.isoformat() == "2026-11-25T02:00:00+09:00"
    assert context(None, None).scheduled_for is None
    assert context(None, tick).scheduled_for == tick


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("* * * * *", "every minute"),
        ("*/5 * * * *", "every 5 minutes"),
        ("0 * * * *", "every hour"),
        ("30 * * * *", "at minute 30 of every hour"),
        ("0 */2 * * *", "every 2 hours"),
        ("0 2 * * *", "at 02:00 every day"),
        ("0 10 * * MON", "at 10:00 on Monday"),
        ("0 8-18 * * 1-5", "every hour from 08:00 to 18:00 on Monday to Friday"),
        ("0 0 13 * fri", "at 00:00 on day 13 of the month or on Friday"),
        ("0 0 L * *", "at 00:00 on the last day of the month"),
        ("0 0 15W * *", "at 00:00 on the weekday nearest to day 15 of the month"),
        ("0 0 * * L5", "at 00:00 on the last Friday of the month"),
        ("0 0 1 jan,jul *", "at 00:00 on day 1 in January and July"),
    ],
)
def test_it_is_said_in_words(text: str, words: str) -> None:
    assert describe(Cron(text)) == words


def test_the_examples_in_the_documentation_are_true() -> None:
    assert doctest.testmod(cron_words).failed == 0
