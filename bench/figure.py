"""What a measure yields, and how the figures of one thing are put side by side."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field

OURS = "pgqueue"


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of one round."""

    line: str
    """What was measured: figures of one line can be compared."""
    who: str
    """Whose figure it is: ``pgqueue``, or what it is measured against."""
    value: float
    unit: str


@dataclass(slots=True)
class Line:
    """All figures of one thing: of each who, the value of each round, in order."""

    measure: str
    name: str
    unit: str
    values: dict[str, list[float]] = field(default_factory=dict)

    def median(self, who: str = OURS) -> float:
        return statistics.median(self.values[who])

    def ratio(self, other: str) -> float | None:
        """Our median through the other's; None where there is nothing to divide."""
        if OURS not in self.values or other not in self.values or not self.median(other):
            return None
        return self.median() / self.median(other)


def gather(measure: str, figures: Iterable[Figure]) -> list[Line]:
    """Put the figures of a measure together by line, in the order in which they came."""
    lines: dict[str, Line] = {}
    for figure in figures:
        line = lines.setdefault(figure.line, Line(measure, figure.line, figure.unit))
        if line.unit != figure.unit:
            raise ValueError(f"{figure.line}: {figure.unit} among {line.unit}")
        line.values.setdefault(figure.who, []).append(figure.value)
    return list(lines.values())


def percentile(values: Iterable[float], percent: float) -> float:
    """The smallest of *values* that *percent* of them do not exceed.

    >>> percentile([3, 1, 2, 4], 50), percentile([3, 1, 2, 4], 99)
    (2, 4)
    """
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(int(rank) - 1, 0)]
