"""A family of figures: one name, and how its figures become one."""

from dataclasses import dataclass
from enum import Enum, StrEnum


class Kind(StrEnum):
    """What Prometheus calls it."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Across(Enum):
    """What two figures with the same labels come to: of two processes, or folded into one name."""

    SUM = "sum"
    MAX = "max"
    MIN = "min"


@dataclass(frozen=True, slots=True)
class Family:
    """Figures of one *name*, without the ``_total`` of a counter; seconds, jobs, never thousandths.

    *labels* have few values, ever: no ids, no keys, nothing out of a payload."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    across: Across = Across.SUM


def counter(name: str, help: str, *labels: str) -> Family:
    """What only grows, while its process lives."""
    return Family(name, Kind.COUNTER, help, labels)


def histogram(name: str, help: str, *labels: str) -> Family:
    """Times, in seconds, in buckets that double."""
    return Family(name, Kind.HISTOGRAM, help, labels)


def gauge(name: str, help: str, *labels: str, across: Across = Across.SUM) -> Family:
    """What stands at a figure now."""
    return Family(name, Kind.GAUGE, help, labels, across)
