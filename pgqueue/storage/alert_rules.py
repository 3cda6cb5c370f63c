"""When to alert: rules, for all queues and for single ones."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from pgqueue.storage.operation import Operation, query

SETTINGS = ("threshold", "look_back", "min_samples", "hold_for", "severity", "enabled")


class Rule(NamedTuple):
    """A rule. Of a single queue, what is None is as for all."""

    alert: str
    queue: str
    """Empty: of all that have none of their own."""
    threshold: float | None
    look_back: float | None
    """Seconds; so is *hold_for*."""
    min_samples: int | None
    hold_for: float | None
    severity: str | None
    enabled: bool | None


def list_rules() -> Operation[list[Rule]]:
    """Return the rules by alert, that of all queues before those of single ones."""
    rows = yield from query("list_alert_rules")
    return [Rule._make(row) for row in rows]


def set_alert(
    alert: str,
    settings: Mapping[str, Any],
    *,
    queue: str = "",
    actor: str | None = None,
    reason: str | None = None,
) -> Operation[None]:
    """Change what is named in *settings*: see :data:`SETTINGS`; lengths of time as text.

    None takes a queue's setting back to that of all.
    """
    yield from query(
        "call_set_alert",
        alert=alert,
        settings=json.dumps(settings),
        queue=queue,
        actor=actor,
        reason=reason,
    )
