"""Schedules as rows: made, made to have been due, ticked by hand, and looked at."""

from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg.rows import namedtuple_row

from pgqueue import NewJob, NewSchedule
from pgqueue.storage import schedules
from pgqueue.storage.drivers import run
from pgqueue.storage.schedules import Saved, Seen, Ticked
from pgqueue.timetable.misfire import judge
from pgqueue.timetable.schedule import words_of

Connection = psycopg.Connection[Any]


def save(connection: Connection, name: str = "s", **how: Any) -> Saved:
    """Save a schedule of task ``work``, every minute unless *how* says otherwise."""
    if "every" not in how:
        how.setdefault("cron", "* * * * *")
    job = how.pop("job", NewJob("work"))
    source = how.pop("source", None)
    saved = run(connection, schedules.save(NewSchedule(name=name, job=job, **how)))
    if source is not None:
        connection.execute(
            "UPDATE pgqueue.schedules SET source = %s WHERE name = %s", [source, name]
        )
    return saved


def behind(connection: Connection, name: str = "s", **since: float) -> None:
    """Nobody has ticked it for so long."""
    connection.execute(
        "UPDATE pgqueue.schedules SET ticked_until = clock_timestamp() - %s::interval,"
        " next_run_at = NULL WHERE name = %s",
        [timedelta(**since), name],
    )


def look(connection: Connection) -> dict[str, Seen]:
    return {seen.name: seen for seen in run(connection, schedules.look(limit=1000)).due}


def now(connection: Connection) -> datetime:
    return run(connection, schedules.look(limit=1)).now


def tick_seen(connection: Connection, seen: Seen, at: datetime | None = None) -> Ticked | None:
    """Tick what was seen, as a ticker would that looked at *at*."""
    timing = seen.timing()
    due = judge(timing, seen.rules, ticked_until=seen.ticked_until, now=at or now(connection))
    return run(connection, schedules.tick(seen, due, words=words_of(timing), tzdata="2026a"))


def tick(connection: Connection, name: str = "s") -> Ticked | None:
    """Tick it if it is due, or new."""
    seen = look(connection).get(name)
    return None if seen is None else tick_seen(connection, seen)


def row(connection: Connection, name: str = "s") -> Any:
    with connection.cursor(row_factory=namedtuple_row) as cursor:
        return cursor.execute("SELECT * FROM pgqueue.schedules WHERE name = %s", [name]).fetchone()


def outcomes(connection: Connection) -> list[str]:
    """What became of each tick, in their order."""
    rows = connection.execute("SELECT outcome FROM pgqueue.ticks ORDER BY tick_at").fetchall()
    return [outcome for (outcome,) in rows]


def gaps(connection: Connection) -> list[tuple[datetime, datetime, int, str]]:
    return connection.execute(
        "SELECT first_at, last_at, count, reason FROM pgqueue.schedule_gaps ORDER BY first_at"
    ).fetchall()


def jobs(connection: Connection) -> list[Any]:
    with connection.cursor(row_factory=namedtuple_row) as cursor:
        return cursor.execute(
            "SELECT * FROM pgqueue.all_jobs WHERE schedule_id IS NOT NULL ORDER BY id"
        ).fetchall()
