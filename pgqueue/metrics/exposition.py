"""Writes a reading as Prometheus reads it, by its own library."""

import asyncio
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from itertools import accumulate
from typing import Any

from pgqueue.errors import MissingPackage
from pgqueue.metrics.family import Family, Kind
from pgqueue.metrics.reading import BOUNDS, Figure, Histogram, Labels, Reading
from pgqueue.metrics.shared import Shared
from pgqueue.serving import Answer, Route


def require_client() -> None:
    """Raise :class:`MissingPackage` if prometheus_client is not installed."""
    try:
        import prometheus_client  # noqa: F401
    except ImportError:
        raise MissingPackage("metrics", "prometheus_client", "prometheus") from None


def page(shared: Shared) -> Route:
    """Return what answers ``GET /metrics``, in the text format or, if the client asks for it, in
    OpenMetrics. It is written in a thread: thousands of lines take longer than the jobs on this
    event loop are to wait."""
    threads = ThreadPoolExecutor(1, thread_name_prefix="pgqueue-metrics")

    async def answer(headers: Mapping[str, str]) -> Answer:
        reading = await shared.read()
        body, content_type = await asyncio.get_running_loop().run_in_executor(
            threads, expose, reading, headers.get("accept", "")
        )
        return Answer(HTTPStatus.OK, body, content_type)

    return answer


def expose(reading: Reading, accept: str = "") -> tuple[bytes, str]:
    """Return *reading* in the format that a client accepts, and the content type of it."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.exposition import choose_encoder

    encode, content_type = choose_encoder(accept)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(reading))
    return encode(registry), content_type


class _Collector:
    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def collect(self) -> Iterator[Any]:
        for family, cells in self._reading:
            yield _metric(family, cells)


def _metric(family: Family, cells: Mapping[Labels, Figure]) -> Any:
    """The library's own object for a family."""
    from prometheus_client import core

    kinds = {
        Kind.COUNTER: core.CounterMetricFamily,
        Kind.GAUGE: core.GaugeMetricFamily,
        Kind.HISTOGRAM: core.HistogramMetricFamily,
    }
    metric: Any = kinds[family.kind](family.name, family.help, labels=family.labels)
    for labels, figure in cells.items():
        if isinstance(figure, Histogram):
            metric.add_metric(labels, buckets=_buckets(figure), sum_value=figure.seconds)
        else:
            metric.add_metric(labels, figure)
    return metric


def _buckets(histogram: Histogram) -> list[tuple[str, int]]:
    """Each bound, and how many times are below it. A time is a whole number of ms in it, so that
    "below" and "at most" differ for none that could be told from its bound."""
    counts = [*histogram.counts, *[0] * (len(BOUNDS) + 1 - len(histogram.counts))]
    bounds = [*(f"{bound:.10g}" for bound in BOUNDS), "+Inf"]
    return list(zip(bounds, accumulate(counts), strict=True))
