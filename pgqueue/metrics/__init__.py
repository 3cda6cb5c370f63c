"""Figures for Prometheus: what a family is, a reading of many, and how it is written out.

Knows neither what is measured nor where: ``exporter`` reads the database, ``worker`` itself. Only
``exposition`` needs the package prometheus_client, ``pgqueue[prometheus]``."""

from pgqueue.metrics.exposition import page, require_client
from pgqueue.metrics.family import Across, Family, counter, gauge, histogram
from pgqueue.metrics.names import OTHER, Names
from pgqueue.metrics.reading import Histogram, Reading
from pgqueue.metrics.shared import Shared

__all__ = [
    "OTHER",
    "Across",
    "Family",
    "Histogram",
    "Names",
    "Reading",
    "Shared",
    "counter",
    "gauge",
    "histogram",
    "page",
    "require_client",
]
