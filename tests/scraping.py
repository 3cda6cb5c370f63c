"""Scrapes as Prometheus makes them, read by its own parsers."""

import http.client
import os
import shutil
import socket
import subprocess
from collections.abc import Iterable
from typing import NamedTuple

from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
PROMTOOL = os.environ.get("PROMTOOL") or shutil.which("promtool")
NO_PROMTOOL = (
    "THE RULES FOR PROMETHEUS ARE NOT CHECKED: no promtool on PATH, nor named by PROMTOOL; it is "
    "in Debian's package prometheus (apt-get download prometheus && dpkg -x prometheus_*.deb .)"
)


class Scrape(NamedTuple):
    """What one scrape told."""

    text: str
    content_type: str
    families: dict[str, Metric]

    @property
    def samples(self) -> list[Sample]:
        return [sample for family in self.families.values() for sample in family.samples]

    def values(self, name: str, **labels: str) -> list[float]:
        """The figures of that name that have these labels, among others."""
        return [
            sample.value
            for sample in self.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]

    def value(self, name: str, **labels: str) -> float:
        """The only such figure."""
        (value,) = self.values(name, **labels)
        return value

    def counters(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """Whatever must never go down: counters, and the buckets and sums of histograms."""
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families.values()
            if family.type in ("counter", "histogram")
            for sample in family.samples
        }


def read(text: str, content_type: str = "text/plain") -> Scrape:
    """Parse what was told, in either format."""
    is_open = "openmetrics" in content_type
    parse = openmetrics_families if is_open else text_string_to_metric_families
    families: Iterable[Metric] = parse(text)
    return Scrape(text, content_type, {family.name: family for family in families})


def scrape(port: int, accept: str = "", timeout: float = 30.0) -> Scrape:
    """Ask for /metrics. Raises OSError while nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", "/metrics", headers={"Accept": accept} if accept else {})
        answer = connection.getresponse()
        text = answer.read().decode()
        assert answer.status == 200, text
        return read(text, answer.headers["Content-Type"])
    finally:
        connection.close()


def is_answering(port: int) -> bool:
    try:
        scrape(port)
    except OSError:
        return False
    return True


def lint(told: Scrape) -> None:
    """Have promtool look at it, if there is one."""
    if PROMTOOL is not None:
        promtool("check", "metrics", stdin=told.text)


def promtool(*words: str, stdin: str | None = None) -> None:
    """Run promtool, which must have nothing to say against it."""
    answer = subprocess.run(
        [str(PROMTOOL), *words], input=stdin, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr


def went_down(before: Scrape, after: Scrape) -> dict[str, tuple[float, float]]:
    """The counters of *before* that are lower, or gone, in *after*: there must be none."""
    now = after.counters()
    return {
        f"{name}{dict(labels)}": (value, now.get((name, labels), -1.0))
        for (name, labels), value in before.counters().items()
        if now.get((name, labels), -1.0) < value
    }


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
