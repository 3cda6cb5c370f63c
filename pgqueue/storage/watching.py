"""One look at all that a person on duty wants to see. Reads the views that are for monitors."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from pgqueue.storage.operation import Operation, Row, query
from pgqueue.storage.rollups import Alert, list_alerts

MOST_QUEUES = 200
MOST_WORKERS = 100
MOST_JOBS = 100
MOST_GROUPS = 20
MINUTES = 60
"""So many minutes of history are shown, the present one included."""


class Queue(NamedTuple):
    """How a queue stands. Rates and shares are of the last five to six minutes."""

    name: str
    available: int
    running: int
    scheduled: int
    retrying: int
    dead: int
    at_least: Sequence[str]
    """The counts among these that stopped at a limit."""
    oldest: float | None
    """Seconds that the oldest available job has waited."""
    started: float
    """Attempts begun a minute; so is *ended*, of those that succeeded or failed."""
    ended: float
    p95_wait: float | None
    failure_rate: float | None
    """A share of 1."""
    workers: int
    slots: int
    is_paused: bool
    history: Sequence[int]
    """How many attempts ended in each of the last 60 minutes, the present one last."""


class Worker(NamedTuple):
    """A worker process. Times are in seconds."""

    host: str
    pid: int
    queues: dict[str, int]
    slots: int
    holds: int
    """Jobs that run in it, or wait in it for a slot."""
    is_alive: bool
    is_listening: bool
    up: float
    seen_ago: float


class Running(NamedTuple):
    """A job that runs, or waits in its worker for a slot. Times are in seconds."""

    id: int
    queue: str
    task: str
    run: int
    max_attempts: int
    held_for: float
    lease_left: float
    host: str | None
    pid: int | None
    percent: int | None
    is_cancelled: bool


class Failures(NamedTuple):
    """How attempts of a task ended badly within an hour, and how many jobs died of it."""

    task: str
    queue: str
    failed: int
    timed_out: int
    crashed: int
    lost: int
    dead: int
    failure_rate: float | None


class Deaths(NamedTuple):
    """Dead jobs that died of the same."""

    cause: str | None
    """The fingerprint of their error, which begins with its type."""
    reasons: Sequence[str]
    jobs: int
    at_least: bool
    tasks: Sequence[str]
    latest_ago: float


class Watch(NamedTuple):
    """One look."""

    database: str
    version: str
    now: datetime
    holder: str | None
    """Who holds the oldest snapshot, and for how many seconds; None: nobody."""
    held_for: float | None
    sees_holders: bool
    """Whether the present user may know of other people's snapshots."""
    alerts: Sequence[Alert]
    """Those that fire or are about to, the worst first."""
    queues: Sequence[Queue]
    workers: Sequence[Worker]
    running: Sequence[Running]
    failures: Sequence[Failures]
    deaths: Sequence[Deaths] | None
    """None: the present user may not see them."""


def watch() -> Operation[Watch]:
    """Look at everything once."""
    *server, sees_deaths = (yield from query("watch_server"))[0]
    alerts = yield from list_alerts()
    queues = yield from query("watch_queues", limit=MOST_QUEUES)
    workers = yield from query("watch_workers", limit=MOST_WORKERS)
    running = yield from query("watch_running", limit=MOST_JOBS)
    failures = yield from query("watch_failures", limit=MOST_GROUPS)
    deaths = (yield from query("watch_deaths", limit=MOST_GROUPS)) if sees_deaths else None
    return Watch._make(
        (
            *server,
            [alert for alert in alerts if alert.state in ("firing", "pending")],
            [_queue(row) for row in queues],
            [Worker._make((*row[:2], json.loads(row[2]), *row[3:])) for row in workers],
            [Running._make(row) for row in running],
            [Failures._make(row) for row in failures],
            None if deaths is None else [_deaths(row) for row in deaths],
        )
    )


def _queue(row: Row) -> Queue:
    return Queue._make((*row[:6], json.loads(row[6]), *row[7:-1], _history(row[-1])))


def _deaths(row: Row) -> Deaths:
    error_type, reasons, jobs, at_least, tasks, ago = row
    return Deaths(error_type, json.loads(reasons), jobs, at_least, json.loads(tasks), ago)


def _history(by_minute: str) -> list[int]:
    """``{"0": now, "1": a minute ago, ...}`` as a row of minutes."""
    ended = json.loads(by_minute)
    return [ended.get(str(ago), 0) for ago in reversed(range(MINUTES))]
