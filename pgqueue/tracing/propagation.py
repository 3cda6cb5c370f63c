"""The W3C trace context, and baggage if it is wanted, between processes and in a job's metadata."""

import json
from collections.abc import Mapping
from typing import Any

from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import SpanContext, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from pgqueue.metadata import TRACEPARENT
from pgqueue.secrecy.redaction import redact


class Propagation:
    """Tells a trace to others, and understands theirs."""

    def __init__(self, *, baggage: bool) -> None:
        self._propagators: list[TextMapPropagator] = [TraceContextTextMapPropagator()]
        if baggage:
            self._propagators.append(W3CBaggagePropagator())

    def carrier(self, context: Context | None = None) -> dict[str, str]:
        """Return what *context*, by default the present one, is to be told by; nothing that looks
        like a credential, which foreign ``tracestate`` and baggage may."""
        told: dict[str, str] = {}
        for propagator in self._propagators:
            propagator.inject(told, context)
        return {
            name: text for name, text in told.items() if name == TRACEPARENT or text == redact(text)
        }

    def context(self, carrier: Mapping[str, Any]) -> Context:
        """Return the context that *carrier* tells of, without anything of the present one."""
        texts = {name: text for name, text in carrier.items() if isinstance(text, str)}
        context = Context()
        for propagator in self._propagators:
            context = propagator.extract(texts, context)
        return context

    def context_of(self, metadata: str | None) -> Context:
        """Return the context that a job's *metadata*, as JSON text, tells of."""
        return self.context(json.loads(metadata) if metadata else {})


def span_in(context: Context) -> SpanContext | None:
    """Return what *context* says of the span it comes from; ``None``: nothing that is valid."""
    found = get_current_span(context).get_span_context()
    return found if found.is_valid else None
