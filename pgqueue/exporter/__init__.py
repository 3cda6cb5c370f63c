"""``pgqueue exporter``: the figures of a whole database, for Prometheus.

It reads the views at each scrape, and needs no more rights than a monitor has."""

from pgqueue.exporter.main import run

__all__ = ["run"]
