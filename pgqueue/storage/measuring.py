"""Everything that is measured of a database, read from the views that a monitor may see."""

import json
from collections.abc import Sequence
from typing import NamedTuple

from pgqueue.storage.operation import Operation, query
from pgqueue.storage.rollups import Alert, list_alerts


class QueueFigures(NamedTuple):
    """How a queue stands; times in seconds."""

    queue: str
    available: int
    scheduled: int
    retrying: int
    running: int
    dead: int
    at_least: Sequence[str]
    """The states whose count stopped at its limit."""
    oldest_waits: float
    delay: float
    workers: int
    slots: int
    is_paused: bool


class TaskTotals(NamedTuple):
    """What became of a task in a queue, ever; histograms as in ``pgqueue.rollups``."""

    queue: str
    task: str
    started: int
    succeeded: int
    failed: int
    timed_out: int
    crashed: int
    lost: int
    cancelled: int
    snoozed: int
    released: int
    retried: int
    dead: int
    wait: float
    waits: Sequence[int]
    run: float
    runs: Sequence[int]


class Vitals(NamedTuple):
    """How the whole of it is; times in seconds."""

    workers: int
    listening: int
    silent: int
    open_batches: int
    batch_jobs: int
    schedules: int
    disabled_schedules: int
    broken_schedules: int
    schedule_late: float
    horizon_held: float


class Measures(NamedTuple):
    """All of it."""

    queues: Sequence[QueueFigures]
    totals: Sequence[TaskTotals]
    vitals: Vitals
    alerts: Sequence[Alert]


def measure() -> Operation[Measures]:
    """Measure the database: some small reads, whatever waits in it."""
    queues = yield from query("measure_queues")
    totals = yield from query("measure_totals")
    vitals = yield from query("measure_vitals")
    alerts = yield from list_alerts()
    return Measures(
        [QueueFigures._make((*row[:6], json.loads(row[6]), *row[7:])) for row in queues],
        [
            TaskTotals._make((*row[:14], json.loads(row[14]), row[15], json.loads(row[16])))
            for row in totals
        ],
        Vitals._make(vitals[0]),
        alerts,
    )
