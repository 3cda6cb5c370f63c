"""The lines of a measure as text for a terminal of eighty columns."""

from collections.abc import Iterable, Sequence

from bench.figure import OURS, Line

_WHO = 34


def table(title: str, lines: Iterable[Line]) -> str:
    """What was measured, then each who with median, range, and how many times that pgqueue is."""
    parts = [title, "=" * len(title)]
    for line in lines:
        parts.append(f"{line.name}{', ' + line.unit if line.unit else ''}")
        for who, values in line.values.items():
            ratio = None if who == OURS else line.ratio(who)
            beside = "" if ratio is None else f"   pgqueue: x {ratio:.2f}"
            median = number(line.median(who))
            parts.append(f"  {who:{_WHO}}{median:>9}{_range(values):>18}{beside}".rstrip())
    return "\n".join(parts)


def number(value: float) -> str:
    """With as many digits as can mean something.

    >>> [number(each) for each in (31_234.5, 211.6, 12.34, 1.234, 0.01234, 0)]
    ['31,234', '212', '12.3', '1.23', '0.012', '0']
    """
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return (
        f"{value:.1f}"
        if abs(value) >= 10
        else f"{value:.2f}"
        if abs(value) >= 1
        else f"{value:.3f}"
    )


def _range(values: Sequence[float]) -> str:
    return f" ({number(min(values))}-{number(max(values))})" if len(values) > 1 else ""
