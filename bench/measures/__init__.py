"""The measures, in the order in which they are run. Each says in its first line what it measures,
and yields a figure for each round of each of those it puts side by side."""

from collections.abc import Callable, Iterator

from bench.figure import Figure
from bench.measures import (
    bulk,
    claimers,
    cost,
    drain,
    handlers,
    held,
    latency,
    memory,
    queues,
    scheduled,
    single,
    steady,
    unknown,
    volume,
)
from bench.setting import Setting

Measure = Callable[[Setting], Iterator[Figure]]

_MODULES = (
    bulk,
    single,
    drain,
    steady,
    latency,
    handlers,
    cost,
    held,
    unknown,
    scheduled,
    queues,
    claimers,
    volume,
    memory,
)

MEASURES: dict[str, Measure] = {
    module.__name__.rpartition(".")[2]: module.measure for module in _MODULES
}
TITLES: dict[str, str] = {
    module.__name__.rpartition(".")[2]: (module.__doc__ or "").partition("\n")[0].rstrip(".")
    for module in _MODULES
}
