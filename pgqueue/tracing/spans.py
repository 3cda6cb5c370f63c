"""The tracer that makes OpenTelemetry's spans."""

import logging
from collections.abc import Awaitable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import (
    Link,
    SpanKind,
    Tracer,
    format_span_id,
    format_trace_id,
    get_current_span,
    set_span_in_context,
)

from pgqueue.job import Job
from pgqueue.options import NewJob
from pgqueue.outcome import Outcome
from pgqueue.tracing.attempts import attributes_of, conclude
from pgqueue.tracing.calls import Call
from pgqueue.tracing.propagation import Propagation, span_in

log = logging.getLogger("pgqueue.tracing")


class Spans:
    """A :class:`pgqueue.tracer.Tracer`; see :func:`pgqueue.tracing.instrument`."""

    def __init__(self, tracer: Tracer, *, is_parent: bool, baggage: bool, messages: bool) -> None:
        self._tracer = tracer
        self._is_parent = is_parent
        self._messages = messages
        self._propagation = Propagation(baggage=baggage)

    def send(self, job: NewJob | None) -> AbstractContextManager[Call]:
        return Call(self._tracer, self._propagation, job)

    async def attempt(self, job: Job, running: Awaitable[Outcome]) -> Outcome:
        """Await *running* inside a span. What goes wrong with spans is logged, and no more: a job
        does not fail for it."""
        try:
            context = self._begin(job)
        except Exception:
            log.exception("no span for %s", job)
            return await running
        span = get_current_span(context)
        token = attach(context)
        try:
            outcome = await running
            conclude(span, outcome, messages=self._messages)
            return outcome
        finally:
            detach(token)
            span.end()

    def carrier(self) -> dict[str, str]:
        return self._propagation.carrier()

    @contextmanager
    def inside(self, carrier: Mapping[str, str]) -> Iterator[None]:
        token = attach(self._propagation.context(carrier))
        try:
            yield
        finally:
            detach(token)

    def log_fields(self) -> dict[str, str]:
        present = get_current_span().get_span_context()
        if not present.is_valid:
            return {}
        return {
            "trace_id": format_trace_id(present.trace_id),
            "span_id": format_span_id(present.span_id),
        }

    def _begin(self, job: Job) -> Context:
        """Return a context with a new span for an attempt at *job*."""
        told = self._propagation.context_of(job.metadata)
        call = span_in(told)
        links = [] if call is None or self._is_parent else [Link(call)]
        span = self._tracer.start_span(
            f"process {job.queue}",
            told if self._is_parent else Context(),
            SpanKind.CONSUMER,
            attributes_of(job),
            links,
        )
        # The baggage, too, is told; it does not depend on whose child the span is.
        return set_span_in_context(span, told)
