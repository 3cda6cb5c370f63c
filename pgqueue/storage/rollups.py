"""What was done and how fast: counts are told, folded, and read as alerts."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from pgqueue.storage.operation import Operation, query


class Alert(NamedTuple):
    """How one alert stands. ``state``: ok, pending, firing or resolved (within a day)."""

    alert: str
    queue: str
    """Empty where the alert is about none."""
    subject: str
    """What it is about, where the queue does not say it."""
    state: str
    severity: str | None
    """None: its rule is switched off."""
    since: datetime
    value: float | None
    threshold: float | None
    text: str | None
    """A sentence for a person."""
    now: datetime


def tell(tallies: Sequence[Mapping[str, Any]]) -> Operation[int]:
    """Tell counts: rows of ``pgqueue.tallies``, their ``at`` in seconds since 1970; return how
    many."""
    rows = yield from query("tell_tallies", tallies=json.dumps(tallies))
    return len(rows)


def fold(*, limit: int) -> Operation[int]:
    """Fold up to *limit* tallies into rollups; return how many. 0: none, or somebody else does."""
    rows = yield from query("fold_tallies", limit=limit)
    return int(rows[0][0])


def evaluate_alerts() -> Operation[int]:
    """Write down which alerts have changed, and tell it, unless somebody just did; return how
    many."""
    rows = yield from query("evaluate_alerts")
    return int(rows[0][0])


def list_alerts() -> Operation[list[Alert]]:
    """Return how the alerts stand, the worst first."""
    rows = yield from query("list_alerts")
    return [Alert._make(row) for row in rows]
