"""The three things that one would rather look at."""

from pathlib import Path

from bench import svg
from bench.figure import Line
from bench.measures import held
from bench.report import Report


def write_plots(report: Report, directory: Path, prefix: str = "") -> list[Path]:
    """Write a plot of whatever *report* has; return the files."""
    drains = report.named("drain, ")
    latencies = report.named("latency, ")
    written = []
    for name, text in (
        ("drain", svg.bars("Drain", _bars(drains), "jobs/s") if drains else ""),
        ("latency", svg.bars("Enqueue to start", _bars(latencies), "ms") if latencies else ""),
        ("held", _held(report)),
    ):
        if text:
            path = directory / f"{prefix}{name}.svg"
            path.write_text(text)
            written.append(path)
    return written


def _bars(lines: list[Line]) -> dict[str, dict[str, float]]:
    return {line.name: {who: line.median(who) for who in line.values} for line in lines}


def _held(report: Report) -> str:
    series = {
        f"{who}, by {batch}": _points(line, free, who, report.sizes["held_round"])
        for batch in held.BATCHES
        for line in report.named(held.line(batch, "held"))
        for free in [report.line(held.line(batch, "free"))]
        for who in line.values
    }
    title = "Drain while a snapshot is held"
    share = "share of the median without"
    return svg.curves(title, series, "jobs drained under it", share) if series else ""


def _points(held: Line, free: Line | None, who: str, jobs: int) -> list[svg.Point]:
    """Jobs drained so far -> the rate as a share of what it is without a snapshot."""
    rate = free.median(who) if free and who in free.values else 1.0
    return [((number + 1) * jobs, each / rate) for number, each in enumerate(held.values[who])]
