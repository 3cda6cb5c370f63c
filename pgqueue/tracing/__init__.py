"""Traces by OpenTelemetry.

Call :func:`instrument` once in every process that enqueues or runs jobs, where it sets up its SDK:
for a worker in the module of the tasks, so that its process children do it, too.

A call that enqueues is a PRODUCER span, each attempt of a job a CONSUMER span around its handler,
named and described by the semantic conventions for messaging. The W3C context of the call
(``traceparent``, ``tracestate``) is stored in the metadata of its jobs, and goes on to what a batch
calls back and to ``on_dead_task``. A job that has a ``traceparent`` already, from SQL say, keeps
it. No span holds an argument, a result, a key or an actor.

In a process child the attempt's span is the present one for what the handler traces there, if the
child has a tracer too; what a child that is killed had not exported yet is lost.

Needs ``pgqueue[otel]``, which is the API alone.
"""

from typing import Literal

from pgqueue import tracer

try:
    from opentelemetry.trace import TracerProvider, get_tracer
except ImportError as error:
    raise ImportError(
        "traces need the package opentelemetry-api; install it: pip install 'pgqueue[otel]'"
    ) from error

from pgqueue.errors import InvalidOption
from pgqueue.tracing.spans import Spans

__all__ = ["instrument", "uninstrument"]

_SCHEMA = "https://opentelemetry.io/schemas/1.44.0"
"""The version of the semantic conventions that the attributes are those of."""


def instrument(
    *,
    tracer_provider: TracerProvider | None = None,
    relation: Literal["link", "parent"] = "link",
    baggage: bool = False,
    messages: bool = False,
) -> None:
    """Trace what this process enqueues and runs from now on.

    *tracer_provider*: the global one by default. *relation*: an attempt begins a trace of its own
    that is linked to the call which enqueued the job (``"link"``), or is a part of that call's
    trace (``"parent"``). *baggage*: store the caller's W3C baggage with the job and have it in the
    handler; not if it looks as if it held a credential. *messages*: record what failing handlers
    say, redacted, beside the type of their errors; never of encrypted jobs.

    Raises :class:`InvalidOption`.
    """
    if relation not in ("link", "parent"):
        raise InvalidOption("relation", f"must be 'link' or 'parent', not {relation!r:.80}")
    maker = get_tracer("pgqueue", tracer_provider=tracer_provider, schema_url=_SCHEMA)
    tracer.active = Spans(maker, is_parent=relation == "parent", baggage=baggage, messages=messages)


def uninstrument() -> None:
    """Trace nothing from now on."""
    tracer.active = None
