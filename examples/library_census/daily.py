"""The report that is due every day: show its schedule, run it now, and wait for what it says."""

from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import text

from examples.library_census.models import dsn, open_session
from examples.library_census.screen import say
from examples.library_census.tasks import daily_report, tasks
from pgqueue import Waiter, run_schedule_now

PATIENCE = 60.0  # seconds


def run_report() -> dict[str, Any]:
    """Run the daily report by hand; return it."""
    with open_session() as session:
        schedule = session.execute(
            text("SELECT words, next_run_at, tz FROM pgqueue.schedule_status WHERE name = :name"),
            {"name": daily_report.name},
        ).one()
    say(f"\nThe workers have written down a schedule (@tasks.cron): {daily_report.name}")
    due = schedule.next_run_at.astimezone(ZoneInfo(schedule.tz))
    say(f"  {schedule.words}, next on {due:%Y-%m-%d %H:%M %Z}")
    with open_session() as session, session.begin():
        job = run_schedule_now(session, daily_report.name)
    with Waiter(dsn(), tasks=tasks) as waiter:
        report: dict[str, Any] = waiter.wait(job, timeout=PATIENCE)
    say(f"  run now, and waited for: {report}")
    return report
