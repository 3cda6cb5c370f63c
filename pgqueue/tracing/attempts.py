"""What the CONSUMER span of an attempt says, and how it ends."""

from collections.abc import Mapping
from typing import Any

from opentelemetry.trace import Span, StatusCode

from pgqueue.context import worker_id
from pgqueue.job import Job
from pgqueue.outcome import (
    Cancelled,
    Committed,
    Crashed,
    Died,
    Lost,
    Outcome,
    Released,
    Retried,
    Snoozed,
    Succeeded,
    Undecided,
)
from pgqueue.secrecy.redaction import shown

_WORDS: Mapping[type[Outcome], str] = {
    Succeeded: "succeeded",
    Committed: "succeeded",
    Retried: "retried",
    Died: "dead",
    Crashed: "crashed",
    Lost: "lost",
    Cancelled: "cancelled",
    Snoozed: "snoozed",
    Released: "released",
    Undecided: "undecided",
}


def attributes_of(job: Job) -> dict[str, Any]:
    """Return what is known when an attempt at *job* begins."""
    said = {
        "messaging.system": "pgqueue",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": job.queue,
        "messaging.message.id": str(job.id),
        "messaging.client.id": worker_id(),
        "pgqueue.task": job.task,
        "pgqueue.attempt": job.attempt,
        "pgqueue.run": job.run,
        "pgqueue.max_attempts": job.max_attempts,
        "pgqueue.batch.id": job.batch_id,
    }
    return {name: value for name, value in said.items() if value is not None}


def conclude(span: Span, outcome: Outcome, *, messages: bool) -> None:
    """Say what the attempt came to. An error's text is told only with *messages*, redacted; of an
    encrypted job it is encrypted already."""
    span.set_attribute("pgqueue.outcome", _WORDS[type(outcome)])
    if isinstance(outcome, (Retried, Died)):
        failed = outcome.failure
        event = {"exception.type": failed.type}
        if messages:
            event["exception.message"] = shown(failed.message)
        span.add_event("exception", event)
        _fail(span, failed.type)
        if isinstance(outcome, Died):
            span.set_attribute("pgqueue.reason", outcome.reason)
    elif isinstance(outcome, (Crashed, Lost)):
        _fail(span, "Crashed" if isinstance(outcome, Crashed) else "LeaseLost")


def _fail(span: Span, kind: str) -> None:
    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR)
