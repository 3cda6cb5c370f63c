"""Makes figures of what was measured, with few names in them."""

from collections.abc import Sequence

from pgqueue.exporter import families
from pgqueue.metrics import OTHER, Histogram, Names, Reading
from pgqueue.storage.measuring import Measures, QueueFigures, TaskTotals, Vitals
from pgqueue.storage.rollups import Alert

STATES = ("available", "scheduled", "retrying", "running", "dead")
OUTCOMES = (
    *("succeeded", "failed", "timed_out", "crashed", "lost", "cancelled", "snoozed", "released"),
)


class Figures:
    """Figures with at most *most* names of queues, of tasks in queues, and of alerts' subjects. The
    rest is added up under one name; where that makes no sense, the worst of it counts."""

    def __init__(self, most: int) -> None:
        self._queues: Names[str] = Names(most)
        self._tasks: Names[tuple[str, str]] = Names(most)
        self._subjects: Names[str] = Names(most)

    def of(self, measures: Measures) -> Reading:
        """Return the figures of *measures*."""
        reading = Reading()
        # Totals come first, and among them the longest known: who has a name keeps it, also in the
        # next exporter.
        for totals in measures.totals:
            self._add_totals(reading, totals)
        for queue in measures.queues:
            self._add_queue(reading, queue)
        self._add_alerts(reading, measures.alerts)
        _add_vitals(reading, measures.vitals)
        for label, names in (
            ("queue", self._queues),
            ("task", self._tasks),
            ("subject", self._subjects),
        ):
            reading.put(families.FOLDED, names.take_folded(), label)
        return reading

    def _add_totals(self, reading: Reading, totals: TaskTotals) -> None:
        queue = self._queue(totals.queue)
        names = (queue, totals.task if self._tasks.keeps(totals[:2]) else OTHER)
        reading.put(families.STARTED, totals.started, *names)
        for outcome in OUTCOMES:
            reading.put(families.ATTEMPTS, getattr(totals, outcome), *names, outcome)
        reading.put(families.RETRIES, totals.retried, *names)
        reading.put(families.DEATHS, totals.dead, *names)
        reading.put(families.WAIT, Histogram(totals.waits, totals.wait), *names)
        reading.put(families.RUN, Histogram(totals.runs, totals.run), *names)

    def _add_queue(self, reading: Reading, figures: QueueFigures) -> None:
        queue = self._queue(figures.queue)
        for state in STATES:
            reading.put(families.DEPTH, getattr(figures, state), queue, state)
            reading.put(families.DEPTH_LIMITED, state in figures.at_least, queue, state)
        reading.put(families.DELAY, figures.delay, queue)
        reading.put(families.OLDEST, figures.oldest_waits, queue)
        reading.put(families.PAUSED, figures.is_paused, queue)
        reading.put(families.QUEUE_WORKERS, figures.workers, queue)
        reading.put(families.QUEUE_SLOTS, figures.slots, queue)

    def _add_alerts(self, reading: Reading, alerts: Sequence[Alert]) -> None:
        for alert in alerts:
            queue = self._queue(alert.queue) if alert.queue else ""
            known = not alert.subject or self._subjects.keeps(alert.subject)
            subject = alert.subject if known else OTHER
            labels = (alert.alert, queue, subject, alert.severity or "")
            reading.put(families.ALERT, alert.state == "firing", *labels)

    def _queue(self, queue: str) -> str:
        return queue if self._queues.keeps(queue) else OTHER


def _add_vitals(reading: Reading, vitals: Vitals) -> None:
    reading.put(families.WORKERS, vitals.workers, "alive")
    reading.put(families.WORKERS, vitals.silent, "silent")
    reading.put(families.LISTENING, vitals.listening)
    reading.put(families.BATCHES, vitals.open_batches)
    reading.put(families.BATCH_JOBS, vitals.batch_jobs)
    reading.put(families.SCHEDULES, vitals.schedules, "enabled")
    reading.put(families.SCHEDULES, vitals.disabled_schedules, "disabled")
    reading.put(families.SCHEDULES, vitals.broken_schedules, "broken")
    reading.put(families.LATE, vitals.schedule_late)
    reading.put(families.HORIZON, vitals.horizon_held)
