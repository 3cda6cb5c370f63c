"""Finish: outcomes become statements. Each is fenced by (id, attempt, worker_id)."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from pgqueue import statements
from pgqueue.context import Why
from pgqueue.options import LONGEST
from pgqueue.outcome import Cancelled, Crashed, Died, Outcome, Released, Retried, Snoozed, Succeeded
from pgqueue.storage.arrays import numbers, texts
from pgqueue.storage.operation import Operation, Row, Statement

Columns = dict[str, Any]


class Finish(NamedTuple):
    """One statement that writes outcomes of one kind. Its rows begin with the ids it accepted."""

    statement: Statement
    outcomes: Sequence[Outcome]
    """What the database has once it has accepted them."""


def is_finish(outcome: Outcome) -> bool:
    """Whether there is something to write for *outcome*."""
    return type(outcome) in _STATEMENT_OF


def finishes(outcomes: Sequence[Outcome], *, worker_id: str, moment: float) -> list[Finish]:
    """Group *outcomes* into as few statements as there are kinds.

    A job that somebody has cancelled is not tried again, and not buried either: what did not
    succeed is left alone by the statement of its kind, and ended by the last. *moment* is the
    present on the clock that the outcomes' ``started`` and ``ended`` were read from."""
    groups: dict[str, list[Any]] = {}
    unsuccessful: list[Any] = []
    for outcome in sorted(outcomes, key=lambda outcome: outcome.job.id):
        if not isinstance(outcome, Cancelled):
            groups.setdefault(_STATEMENT_OF[type(outcome)], []).append(outcome)
        if not isinstance(outcome, Succeeded):
            unsuccessful.append(outcome)
    columns = {name: _COLUMNS_OF[name](group) for name, group in groups.items()}
    if unsuccessful:
        groups["finish_cancelled"] = [_as_cancelled(outcome) for outcome in unsuccessful]
        columns["finish_cancelled"] = {
            "decided": [isinstance(outcome, Cancelled) for outcome in unsuccessful],
            **_why(groups["finish_cancelled"]),
        }
    return [
        Finish(
            Statement(
                statements.load(name),
                {
                    "worker_id": worker_id,
                    "ids": numbers(o.job.id for o in group),
                    "attempts": numbers(o.job.attempt for o in group),
                    "started_us": numbers(_us(moment - o.started) for o in group),
                    "ended_us": numbers(_us(moment - o.ended) for o in group),
                    **columns[name],
                },
            ),
            group,
        )
        for name, group in groups.items()
    ]


def accepted(writes: Sequence[Finish], answers: Sequence[list[Row]]) -> dict[int, Outcome]:
    """Return what the database has taken, by id. What is missing was lost to a rescue."""
    taken: dict[int, Outcome] = {}
    for write, rows in zip(writes, answers, strict=True):
        by_id = {outcome.job.id: outcome for outcome in write.outcomes}
        taken.update((row[0], by_id[row[0]]) for row in rows)
    return taken


def finish(outcomes: Sequence[Outcome], *, worker_id: str, moment: float) -> Operation[set[int]]:
    """Write *outcomes*; return the ids that were accepted. The others were lost to a rescue."""
    taken: set[int] = set()
    for each in finishes(outcomes, worker_id=worker_id, moment=moment):
        rows = yield each.statement
        taken.update(row[0] for row in rows)
    return taken


def _as_cancelled(outcome: Any) -> Cancelled:
    """What *outcome* comes to if the job was cancelled meanwhile: its error stays legible."""
    if isinstance(outcome, Cancelled):
        return outcome
    why = Why.CANCELLED.value
    if isinstance(outcome, (Retried, Died)):
        why += f"; then {outcome.failure.type}: {outcome.failure.message}"
    elif isinstance(outcome, Crashed):
        why += f"; then {outcome.why}"
    return Cancelled(outcome.job, outcome.started, outcome.ended, why)


def _succeeded(group: Sequence[Succeeded]) -> Columns:
    return {"results": _texts_if_any([o.result for o in group])}


def _retried(group: Sequence[Retried]) -> Columns:
    return {"delays_ms": [_delay(o.delay) for o in group], **_failures(group)}


def _dead(group: Sequence[Died]) -> Columns:
    return {"reasons": [o.reason.value for o in group], **_failures(group)}


def _failures(group: Sequence[Retried | Died]) -> Columns:
    return {
        "kinds": ["timed_out" if o.timed_out else "failed" for o in group],
        "error_types": [o.failure.type for o in group],
        "errors": [o.failure.message for o in group],
        "tracebacks": [o.failure.traceback for o in group],
        "fingerprints": [o.failure.fingerprint for o in group],
    }


def _why(group: Sequence[Cancelled | Crashed]) -> Columns:
    return {"errors": [o.why for o in group]}


def _postponed(group: Sequence[Snoozed | Released]) -> Columns:
    return {
        "kinds": ["snoozed" if isinstance(o, Snoozed) else "released" for o in group],
        "delays_ms": [_delay(o.delay) if isinstance(o, Snoozed) else 0 for o in group],
        "errors": [o.why if isinstance(o, Released) else None for o in group],
    }


_STATEMENT_OF: dict[type, str] = {
    Succeeded: "finish_succeeded",
    Retried: "finish_retried",
    Died: "finish_dead",
    Cancelled: "finish_cancelled",
    Snoozed: "finish_postponed",
    Released: "finish_postponed",
    Crashed: "finish_crashed",
}

_COLUMNS_OF: dict[str, Callable[[Any], Columns]] = {
    "finish_succeeded": _succeeded,
    "finish_retried": _retried,
    "finish_dead": _dead,
    "finish_postponed": _postponed,
    "finish_crashed": _why,
}


def _texts_if_any(values: list[str | None]) -> str:
    """An array that is too short stands for NULL in the rest."""
    return texts(values) if any(value is not None for value in values) else "{}"


def _us(seconds: float) -> int:
    return int(seconds * 1_000_000)


def _delay(seconds: float) -> int:
    return math.ceil(min(seconds, LONGEST) * 1000)
