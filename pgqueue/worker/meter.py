"""The meter: reads off the parts of a worker what Prometheus is told. Nothing is counted for it a
job: what the tally has counted is kept when it is told, and the rest is looked at when asked."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable

from pgqueue.metrics import OTHER, Histogram, Names, Reading
from pgqueue.tasks import Tasks
from pgqueue.worker import families
from pgqueue.worker.clock import boottime
from pgqueue.worker.maintenance import Maintenance
from pgqueue.worker.parts import Parts
from pgqueue.worker.settings import DEFAULT_QUEUE
from pgqueue.worker.tally import Counts, trimmed

MOST = 100
"""So many queues, and so many tasks of queues, have figures of their own."""
LAG_EVERY = 0.25

_BITS = 64
_OUTCOMES = ("succeeded", "failed", "timed_out", "crashed", "cancelled", "snoozed", "released")


class Times:
    """A histogram that grows."""

    def __init__(self) -> None:
        self._counts = [0] * _BITS
        self._seconds = 0.0

    def add(self, seconds: float) -> None:
        self._counts[int(seconds * 1000).bit_length()] += 1
        self._seconds += seconds

    @property
    def histogram(self) -> Histogram:
        return Histogram(trimmed(self._counts), self._seconds)


class Meter:
    """Keeps what *parts* forget, once it is attached, and reads the figures of them all."""

    def __init__(self, parts: Parts, tasks: Tasks) -> None:
        self._parts = parts
        self._tasks = tasks
        self._told: defaultdict[tuple[str, str], Counts] = defaultdict(Counts)
        self._round_trips = Times()
        self._lags = Times()
        self._queues: Names[str] = Names(MOST)
        self._pairs: Names[tuple[str, str]] = Names(MOST)
        self._tardy: Names[str] = Names(MOST)

    def attach(self) -> None:
        """Have the parts tell what they forget, from now on, and be asked by a parent."""
        self._parts.tally.on_taken = self._keep
        self._parts.pump.on_round_trip = self._round_trips.add
        self._parts.ears.on_figures = self.read

    async def run(self) -> None:
        """Forever: see by how much the event loop is late."""
        while True:
            due_at = boottime() + LAG_EVERY
            await asyncio.sleep(LAG_EVERY)
            self._lags.add(max(0.0, boottime() - due_at))

    async def read_alone(self) -> Reading:
        """Return the figures of the only worker here."""
        reading = self.read()
        reading.put(families.PROCESSES, 1, "running")
        reading.put(families.PROCESSES, 1, "answering")
        return reading

    def read(self) -> Reading:
        """Return the figures as they are now."""
        parts, reading = self._parts, Reading()
        for queue, lane in parts.crew.lanes.items():
            name = self._name(queue)
            reading.put(families.SLOTS, lane.slots, name)
            reading.put(families.BUSY, lane.running, name)
            reading.put(families.STUCK, lane.stuck, name)
            reading.put(families.PREFETCHED, len(lane.waiting), name)
        reading.put(families.HELD, len(parts.holdings))
        reading.put(families.UNWRITTEN, len(parts.completer))
        self._add_attempts(reading)
        reading.put(families.LOST, parts.completer.lost)
        reading.put(families.ROUND_TRIP, self._round_trips.histogram)
        reading.put(families.LAG, self._lags.histogram)
        cursors = parts.claimer.cursors
        reading.put(families.CURSORS, cursors.in_use)
        reading.put(families.BOUND, (cursors.bound or 0.0) if cursors.in_use else 0.0)
        reading.put(families.LISTENER, parts.ears.is_up)
        reading.put(families.CONNECTED, parts.sessions[0].is_open, "pump")
        reading.put(families.CONNECTED, parts.heartbeat.is_connected, "heartbeat")
        reading.put(families.RENEWED, boottime() - parts.heartbeat.last_success)
        if parts.maintenance is not None:
            add_chores(reading, parts.maintenance)
        return reading

    def _keep(self, queue: str, task: str, counts: Counts) -> None:
        self._told[queue, task].add(counts)

    def _add_attempts(self, reading: Reading) -> None:
        # A counter must be there before it first grows, or its first step is not seen.
        for task in self._tasks:
            queue = task.defaults.queue or DEFAULT_QUEUE
            if queue in self._parts.crew.lanes:
                self._add_counts(reading, queue, task.name, Counts())
        over = {task.name: 0 for task in self._tasks if task.target_runtime is not None}
        for name, late in {**over, **self._parts.reporter.over_target}.items():
            reading.put(families.OVER_TARGET, late, name if self._tardy.keeps(name) else OTHER)
        told = ((queue, task, counts) for (queue, task), counts in self._told.items())
        for found in (told, self._parts.tally.untold()):
            self._add_all(reading, found)

    def _add_all(self, reading: Reading, found: Iterable[tuple[str, str, Counts]]) -> None:
        for queue, task, counts in found:
            self._add_counts(reading, queue, task, counts)

    def _add_counts(self, reading: Reading, queue: str, task: str, counts: Counts) -> None:
        names = (self._name(queue), self._task(queue, task))
        reading.put(families.STARTED, counts.started, *names)
        for outcome in _OUTCOMES:
            reading.put(families.ATTEMPTS, getattr(counts, outcome), *names, outcome)
        reading.put(families.RETRIES, counts.retried, *names)
        reading.put(families.DEATHS, counts.dead, *names)
        reading.put(families.WAIT, Histogram(trimmed(counts.waits), counts.wait), *names)
        reading.put(families.RUN, Histogram(trimmed(counts.runs), counts.run), *names)

    def _name(self, queue: str) -> str:
        return queue if self._queues.keeps(queue) else OTHER

    def _task(self, queue: str, task: str) -> str:
        return task if self._pairs.keeps((queue, task)) else OTHER


def add_chores(reading: Reading, maintenance: Maintenance) -> None:
    """Add the figures of whoever does the chores."""
    reading.put(families.RESCUED, maintenance.rescued)
    reading.put(families.CONNECTED, maintenance.session.is_open, "maintenance")
