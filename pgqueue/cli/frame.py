"""One frame of ``top``: a pure function from numbers to lines."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from pgqueue.cli.human import brief, compact
from pgqueue.cli.layout import Column, Paint, cut, table
from pgqueue.cli.output import visible
from pgqueue.storage.rollups import Alert
from pgqueue.storage.watching import Deaths, Failures, Queue, Running, Watch, Worker

BARS = " ▁▂▃▄▅▆▇█"
MOST_ALERTS = 4
_WIDE = 100
_POINTS = (60, 30, 20, 15, 12, 10)
"""How many bars an hour may be, each of as many minutes."""
_BESIDE = 70
"""What the other columns of queues take, about."""
_HELD = 60.0
"""Seconds that a snapshot is held, from which on it is shown in colour."""


def _unless_zero(colour: str) -> Callable[[str], str | None]:
    return lambda cell: None if cell in ("", "0", "0%") else colour


_DEAD = Column("DEAD", right=True, colour=_unless_zero("red"))
_LEASE = Column("LEASE", right=True, colour=lambda cell: "red" if cell.startswith("-") else None)
_QUEUES = (
    Column("QUEUE", elastic=True),
    Column("READY", right=True),
    Column("RUN", right=True),
    Column("LATER", right=True),
    _DEAD,
    Column("OLDEST", right=True),
    Column("IN/m", right=True),
    Column("OUT/m", right=True),
    Column("P95", right=True),
    Column("FAIL", right=True, colour=_unless_zero("yellow")),
    Column("LAST HOUR", colour=lambda cell: "red" if cell[:1] in "np" else "cyan"),
)
_WORKERS = (
    Column("WORKER", elastic=True),
    Column("PID", right=True),
    Column("BUSY", right=True),
    Column("QUEUES", elastic=True),
    Column("UP", right=True),
    Column("SEEN", right=True),
    Column("", colour=lambda cell: "red" if cell else None),
)
_RUNNING = (
    Column("JOB", right=True),
    Column("TASK", elastic=True),
    Column("QUEUE", elastic=True),
    Column("RUN", right=True),
    Column("FOR", right=True),
    _LEASE,
    Column("PROGRESS"),
    Column("WORKER", elastic=True),
)
_FAILURES = (
    Column("FAILING", elastic=True),
    Column("QUEUE", elastic=True),
    Column("FAILED", right=True),
    Column("TIMEOUT", right=True),
    Column("CRASHED", right=True),
    Column("LOST", right=True),
    _DEAD,
    Column("FAIL", right=True),
)
_DEATHS = (
    Column("DIED OF", elastic=True),
    Column("JOBS", right=True),
    Column("LATEST", right=True),
    Column("TASKS", elastic=True),
)

ORDERS: Mapping[str, Callable[[Queue], Any]] = {
    "ready": lambda queue: (-queue.available, queue.name),
    "oldest": lambda queue: (-(queue.oldest or 0), queue.name),
    "failing": lambda queue: (-(queue.failure_rate or 0), queue.name),
    "name": lambda queue: queue.name,
}
"""By what queues may be sorted."""


class Section(NamedTuple):
    """A table, or a sentence where there is nothing to put in it."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    otherwise: str = ""


def frame(
    watch: Watch,
    *,
    width: int | None = None,
    height: int | None = None,
    order: str = "ready",
    paint: Paint = lambda text, colour: text,
) -> list[str]:
    """Return the lines that show *watch*: as wide and as high as the screen, or as it takes."""
    lines = _head(watch, width, paint)
    sections = [section for section in _sections(watch, width, order) if any(section[1:])]
    if height is not None:
        sections = _fitting(sections, height - len(lines))
    room = None if height is None else height - len(lines) - 2 * len(sections)
    shares = _share([len(section.rows) for section in sections], room)
    for section, share in zip(sections, shares, strict=True):
        lines += ["", *_drawn(section, share, width, paint)]
    return lines if height is None else lines[:height]


def _head(watch: Watch, width: int | None, paint: Paint) -> list[str]:
    now = watch.now.strftime("%Y-%m-%d %H:%M:%S %Z")
    first = visible(f"database {watch.database}  PostgreSQL {watch.version}  {now}")
    lines = [paint(_fitted(first, width), "bold"), _horizon(watch, width, paint)]
    firing = [alert for alert in watch.alerts if alert.state == "firing"]
    for alert in firing[:MOST_ALERTS]:
        colour = "red" if alert.severity == "critical" else "yellow"
        lines.append(paint(_fitted(_told(alert), width), colour))
    if len(firing) > MOST_ALERTS:
        lines.append(f"and {len(firing) - MOST_ALERTS} more: pgqueue alerts")
    if not firing:
        pending = len(watch.alerts)
        lines.append(paint("no alert fires" + (f", {pending} pending" if pending else ""), "green"))
    return lines


def _horizon(watch: Watch, width: int | None, paint: Paint) -> str:
    if not watch.sees_holders:
        return "oldest snapshot: not allowed to look (needs pg_monitor)"
    if watch.held_for is None:
        return "oldest snapshot: none"
    text = f"oldest snapshot: {brief(watch.held_for)}"
    if watch.held_for < _HELD:
        return text
    return paint(_fitted(visible(f"{text}, {watch.holder}"), width), "yellow")


def _told(alert: Alert) -> str:
    since = brief((alert.now - alert.since).total_seconds())
    subject = " ".join(word for word in (alert.alert, alert.queue) if word)
    return visible(f"{(alert.severity or '').upper()} {subject}: {alert.text} (since {since})")


def _sections(watch: Watch, width: int | None, order: str) -> list[Section]:
    points = next((n for n in _POINTS if width is None or n <= width - _BESIDE), _POINTS[-1])
    bar = 10 if width is None or width >= _WIDE else 5
    living = [worker for worker in watch.workers if worker.is_alive]
    return [
        Section(
            _QUEUES,
            [_queue(each, points) for each in sorted(watch.queues, key=ORDERS[order])],
            "" if watch.queues else "no queues yet: no job, no task, no worker",
        ),
        Section(
            _WORKERS,
            [_worker(each) for each in watch.workers],
            "" if living else "no worker is alive; start one: pgqueue worker MODULE:TASKS",
        ),
        Section(_RUNNING, [_running(each, bar) for each in watch.running]),
        Section(_FAILURES, [_failures(each) for each in watch.failures]),
        Section(_DEATHS, [_deaths(each) for each in watch.deaths or ()]),
    ]


def _queue(queue: Queue, points: int) -> list[str]:
    def count(size: int, *states: str) -> str:
        return compact(size, at_least=any(state in queue.at_least for state in states))

    spark = sparkline(queue.history, points)
    if queue.is_paused:
        spark = "paused"
    elif queue.available and not queue.slots:
        spark = "no worker"
    return [
        queue.name,
        count(queue.available, "available"),
        count(queue.running, "running"),
        count(queue.scheduled + queue.retrying, "scheduled", "retrying"),
        count(queue.dead, "dead"),
        brief(queue.oldest),
        compact(queue.started),
        compact(queue.ended),
        brief(queue.p95_wait),
        percent(queue.failure_rate),
        spark,
    ]


def _worker(worker: Worker) -> list[str]:
    trouble = "" if worker.is_listening else "deaf"
    return [
        worker.host,
        str(worker.pid),
        f"{worker.holds}/{worker.slots}",
        " ".join(f"{name}={slots}" for name, slots in worker.queues.items()),
        brief(worker.up),
        brief(worker.seen_ago),
        trouble if worker.is_alive else "vanished",
    ]


def _running(job: Running, size: int) -> list[str]:
    progress = "cancelling" if job.is_cancelled else ""
    if job.percent is not None and not progress:
        progress = f"{bar(job.percent, size)} {job.percent:>3}%"
    return [
        str(job.id),
        job.task,
        job.queue,
        f"{job.run}/{job.max_attempts}",
        brief(job.held_for),
        brief(job.lease_left),
        progress,
        f"{job.host}/{job.pid}" if job.host else "vanished",
    ]


def _failures(failures: Failures) -> list[str]:
    counts = failures[2:7]
    return [
        failures.task, failures.queue, *map(compact, counts), percent(failures.failure_rate),
    ]  # fmt: skip


def _deaths(deaths: Deaths) -> list[str]:
    return [
        deaths.cause or ", ".join(deaths.reasons),
        compact(deaths.jobs, at_least=deaths.at_least),
        brief(deaths.latest_ago),
        " ".join(deaths.tasks),
    ]


def sparkline(values: Sequence[int], points: int) -> str:
    """A row of bars, the latest last, the highest for the largest; neighbours are added up.

    >>> sparkline([0, 1, 2, 4, 8, 8], 6), sparkline([0, 0, 3, 5], 2), sparkline([0, 0], 2)
    (' ▁▂▄██', ' █', '  ')
    """
    each = len(values) // points
    sums = [sum(values[n : n + each]) for n in range(0, len(values), each)]
    most = max(sums, default=0) or 1
    return "".join(BARS[-(-value * (len(BARS) - 1) // most)] for value in sums)


def bar(percent: int, size: int) -> str:
    """How far something is: ``███░░`` is 60 of a hundred.

    >>> bar(60, 5), bar(0, 5), bar(100, 5)
    ('███░░', '░░░░░', '█████')
    """
    full = percent * size // 100
    return "█" * full + "░" * (size - full)


def percent(share: float | None) -> str:
    """A share of 1, with a decimal where that is most of it.

    >>> percent(None), percent(0), percent(0.0523), percent(0.5), percent(0.00001)
    ('', '0%', '5.2%', '50%', '0.1%')
    """
    if share is None:
        return ""
    hundredths = max(share * 100, 0.1) if share else 0
    return f"{hundredths:.1f}%" if 0 < hundredths < 9.95 else f"{hundredths:.0f}%"


def _fitting(sections: list[Section], height: int) -> list[Section]:
    """Leave out the last ones where not every table would have three rows, or all of its own."""
    while len(sections) > 3:
        wanted = sum(2 + min(3, len(section.rows)) for section in sections)
        if wanted <= height:
            break
        sections = sections[:-1]
    return sections


def _share(wanted: Sequence[int], room: int | None) -> list[int]:
    """Give each section a row, again and again, while there is room."""
    if room is None:
        return list(wanted)
    given = [0] * len(wanted)
    while room > 0 and given != list(wanted):
        for n, most in enumerate(wanted):
            if given[n] < most and room > 0:
                given[n] += 1
                room -= 1
    return given


def _drawn(section: Section, share: int, width: int | None, paint: Paint) -> list[str]:
    if not section.rows:
        return [paint(_fitted(section.otherwise, width), "yellow")]
    rows = [[visible(cell) for cell in row] for row in section.rows]
    hidden = len(rows) - share
    if hidden:
        share = max(share - 1, 0)
    titles, *lines = table(section.columns, rows[:share], width, paint)
    more = [f"... {len(rows) - share} more"] if hidden else []
    notice = [paint(section.otherwise, "yellow")] if section.otherwise and not hidden else []
    return [paint(titles, "bold"), *lines, *more, *notice]


def _fitted(text: str, width: int | None) -> str:
    return text if width is None else cut(text, width)
