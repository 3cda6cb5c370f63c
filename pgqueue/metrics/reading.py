"""A reading: many figures at one moment, that can be added up and sent to another process."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

from pgqueue.metrics.family import Across, Family, Kind

BOUNDS = [0.001 * 2**n for n in range(27)]
"""In seconds: below which a time is counted in each bucket but the last, which has no bound. As in
``pgqueue.rollups``."""


class Histogram(NamedTuple):
    """How many times fell into each bucket, zeros at the end left out, and their sum in seconds."""

    counts: Sequence[int]
    seconds: float

    def plus(self, other: "Histogram") -> "Histogram":
        """Both of them."""
        size = max(len(self.counts), len(other.counts))
        counts = [
            sum(each.counts[n] for each in (self, other) if n < len(each.counts))
            for n in range(size)
        ]
        return Histogram(counts, self.seconds + other.seconds)


Figure = float | Histogram
Labels = tuple[str, ...]


class Reading:
    """Figures by family and labels. Two of one family with the same labels become one."""

    def __init__(self) -> None:
        self._figures: dict[Family, dict[Labels, Figure]] = {}

    def put(self, family: Family, figure: Figure, *labels: str) -> None:
        """Add a figure; *labels*: the values of the family's, in its order."""
        cells = self._figures.setdefault(family, {})
        there = cells.get(labels)
        cells[labels] = figure if there is None else _joined(family.across, there, figure)

    def add(self, other: "Reading", *, gauges: bool = True) -> None:
        """Add the figures of another process; without its *gauges*, if it is no more."""
        for family, cells in other:
            if gauges or family.kind is not Kind.GAUGE:
                for labels, figure in cells.items():
                    self.put(family, figure, *labels)

    def __iter__(self) -> Iterator[tuple[Family, dict[Labels, Figure]]]:
        return iter(self._figures.items())

    def to_json(self) -> list[Any]:
        """These figures as what JSON can hold."""
        return [
            [family.name, [[labels, figure] for labels, figure in cells.items()]]
            for family, cells in self
        ]

    @classmethod
    def from_json(cls, told: list[Any], families: Collection[Family]) -> "Reading":
        """The reading of which ``to_json`` made this, as far as its *families* are known here."""
        known = {family.name: family for family in families}
        reading = cls()
        for name, cells in told:
            if name in known:  # what newer code tells of itself need not be
                for labels, figure in cells:
                    figure = Histogram(*figure) if isinstance(figure, list) else figure
                    reading.put(known[name], figure, *labels)
        return reading


def _joined(across: Across, one: Figure, other: Figure) -> Figure:
    if isinstance(one, Histogram) or isinstance(other, Histogram):
        assert isinstance(one, Histogram)
        assert isinstance(other, Histogram)
        return one.plus(other)
    match across:
        case Across.SUM:
            return one + other
        case Across.MAX:
            return max(one, other)
        case Across.MIN:
            return min(one, other)
