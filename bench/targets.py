"""What pgqueue must reach, line by line, and whether a run has reached it.

A target compares figures of one run on one machine, never with figures from elsewhere. "Best" of a
peer is its best round, ours is the median.
"""

from collections.abc import Iterator
from typing import NamedTuple

from bench import bare, fused
from bench.figure import OURS, Line
from bench.measures import (
    bulk,
    claimers,
    cost,
    drain,
    held,
    latency,
    memory,
    single,
    unknown,
    volume,
)
from bench.peers import NOT_POSTGRES
from bench.report import Report
from bench.table import number


class Verdict(NamedTuple):
    what: str
    target: str
    figure: str
    ratio: float | None
    reached: bool | None
    """None: it was not measured."""


def verdicts(report: Report, peers: Report | None) -> Iterator[Verdict]:
    """Go through the targets. *peers*: a run with the peers beside us, if there was one."""
    for processes in (1, 2):
        name = drain.line(processes)
        yield _above_peers(peers, name, 1.0)
        yield _against(report, name, fused.who(drain.BATCH), 0.8)
    yield _above_peers(peers, bulk.LINE, 1.5)
    for state in single.STATES:
        for connections in single.CONNECTIONS:
            for insert in (bare.WHO_ROW_INSERT, bare.WHO_LEAN_INSERT):
                yield _against(report, single.line(connections, state), insert, 0.85)
    for percent in latency.PERCENTILES:
        yield _below_peers(peers, latency.line("idle worker", percent), "every peer on Postgres")
    for batch in held.BATCHES:
        yield _ratio(report, held.ratio_line(batch), f"{report.sizes['held_jobs']:,} jobs", 0.9)
    yield from _volume(report)
    yield _log_of_a_job(report)
    for what in ("enqueue", "drain"):
        yield _below_peers(peers, cost.CPU.format(what), "pg-boss", "pg-boss")
    yield from _growth(report)


def _above_peers(peers: Report | None, name: str, factor: float) -> Verdict:
    """Our median against the best round of the best peer."""
    target = f"≥ {factor:g} x every peer's best" if factor != 1 else "above every peer's best"
    line = peers.line(name) if peers else None
    others = (
        {who: max(values) for who, values in line.values.items() if who != OURS} if line else {}
    )
    if line is None or OURS not in line.values or not others:
        return Verdict(name, target, "", None, None)
    best = max(others, key=lambda who: others[who])
    figure = f"{number(line.median())} {line.unit}, {best} {number(others[best])}"
    ratio = line.median() / others[best]
    return Verdict(name, target, figure, ratio, ratio > 1 if factor == 1 else ratio >= factor)


def _below_peers(peers: Report | None, name: str, whom: str, only: str | None = None) -> Verdict:
    """Our median against the best median of the peers that keep their jobs in Postgres."""
    target = f"at or below {whom}"
    line = peers.line(name) if peers else None
    others = (
        {}
        if line is None
        else {
            who: line.median(who)
            for who in line.values
            if who != OURS and who not in NOT_POSTGRES and only in (None, who)
        }
    )
    if line is None or OURS not in line.values or not others:
        return Verdict(name, target, "", None, None)
    best = min(others, key=lambda who: others[who])
    figure = f"{number(line.median())} {line.unit}, {best} {number(others[best])}"
    return Verdict(
        name, target, figure, line.median() / others[best], line.median() <= others[best]
    )


def _against(report: Report, name: str, other: str, least: float) -> Verdict:
    target = f"≥ {least:g} x {other}"
    line = report.line(name)
    ratio = line.ratio(other) if line else None
    if line is None or ratio is None:
        return Verdict(name, target, "", None, None)
    figure = f"{number(line.median())} {line.unit} against {number(line.median(other))}"
    return Verdict(name, target, figure, ratio, ratio >= least)


def _ratio(report: Report, name: str, of: str, least: float) -> Verdict:
    target = f"≥ {least:g}"
    line = report.line(name)
    if line is None:
        return Verdict(name, target, "", None, None)
    return Verdict(name, target, of, line.median(), line.median() >= least)


def _volume(report: Report) -> Iterator[Verdict]:
    tables = f"with {report.sizes['waiting']:,} waiting, {report.sizes['finished']:,} finished"
    for name, lines in (
        (volume.CLAIM, report.named(volume.CLAIM)),
        ("the slowest query or view", report.named(volume.QUERY)),
    ):
        what, target = f"{name}, {tables}", "≤ 50 ms"
        if not lines:
            yield Verdict(what, target, "", None, None)
            continue
        slowest = max(lines, key=lambda line: max(line.values[OURS]))
        worst = max(slowest.values[OURS])
        yield Verdict(what, target, f"{number(worst)} ms ({slowest.name})", None, worst <= 50)


def _log_of_a_job(report: Report) -> Verdict:
    what, target = "write-ahead log of a job, enqueue and drain", "≤ 1,400 B with history"
    lines = report.named(cost.WAL)
    if not lines:
        return Verdict(what, target, "", None, None)
    total = sum(line.median() for line in lines)
    return Verdict(what, target, f"{number(total)} B", None, total <= 1400)


def _growth(report: Report) -> Iterator[Verdict]:
    for name in (volume.SERVER, volume.WORKER):
        yield _at_most(report, name, volume.SMALL, 1.1)
    yield _against(report, unknown.DRAIN, unknown.ALONE, 0.9)
    yield _at_most_ms(report, unknown.latency_line(99), 5.0)
    lines = [line for count in claimers.COUNTS if (line := report.line(claimers.line(count)))]
    yield _claimers(lines)
    line = report.line(memory.RATIO)
    what, target = f"{memory.RATIO}, {report.sizes['memory_jobs']:,} jobs", "≤ 1.05"
    if line is None:
        yield Verdict(what, target, "", None, None)
    else:
        yield Verdict(what, target, "", line.median(), line.median() <= 1.05)


def _at_most(report: Report, name: str, other: str, most: float) -> Verdict:
    target = f"≤ {most:g} x {other}"
    line = report.line(name)
    ratio = line.ratio(other) if line else None
    if line is None or ratio is None:
        return Verdict(name, target, "", None, None)
    figure = f"{number(line.median())} {line.unit} against {number(line.median(other))}"
    return Verdict(name, target, figure, ratio, ratio <= most)


def _at_most_ms(report: Report, name: str, most: float) -> Verdict:
    target = f"≤ {most:g} ms"
    line = report.line(name)
    if line is None:
        return Verdict(name, target, "", None, None)
    figure = f"{number(line.median())} ms"
    return Verdict(name, target, figure, None, line.median() <= most)


def _claimers(lines: list[Line]) -> Verdict:
    what, target = "1, 4, 16, 64 claimers on one queue", "≥ 0.8 of the best of them"
    if not lines:
        return Verdict(what, target, "", None, None)
    medians = [line.median() for line in lines]
    figure = ", ".join(map(number, medians)) + " jobs/s"
    ratio = min(medians) / max(medians)
    return Verdict(what, target, figure, ratio, ratio >= 0.8)
