"""This process traced by the real SDK, and what it exported."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, format_span_id, format_trace_id

from pgqueue import tracer
from pgqueue.tracing import instrument, uninstrument


class Traced:
    """This process, traced."""

    def __init__(self) -> None:
        self.provider = TracerProvider(shutdown_on_exit=False)
        self._exporter = InMemorySpanExporter()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = self.provider.get_tracer("application")

    def instrument(self, **how: Any) -> None:
        instrument(tracer_provider=self.provider, **how)

    @property
    def spans(self) -> list[ReadableSpan]:
        """What has ended, in that order."""
        return list(self._exporter.get_finished_spans())

    @property
    def calls(self) -> list[ReadableSpan]:
        return [span for span in self.spans if span.kind is SpanKind.PRODUCER]

    @property
    def attempts(self) -> list[ReadableSpan]:
        return [span for span in self.spans if span.kind is SpanKind.CONSUMER]

    @property
    def call(self) -> ReadableSpan:
        (call,) = self.calls
        return call

    @property
    def attempt(self) -> ReadableSpan:
        (attempt,) = self.attempts
        return attempt

    def named(self, name: str) -> ReadableSpan:
        (span,) = [span for span in self.spans if span.name == name]
        return span

    def told(self) -> str:
        """All that was exported, as text."""
        return "\n".join(span.to_json() for span in self.spans)


@pytest.fixture
def traced() -> Iterator[Traced]:
    traced = Traced()
    traced.instrument()
    yield traced
    uninstrument()
    assert tracer.active is None


def trace_of(span: ReadableSpan) -> str:
    return format_trace_id(span.context.trace_id)


def traceparent_of(span: ReadableSpan) -> str:
    flags = span.context.trace_flags
    return f"00-{trace_of(span)}-{format_span_id(span.context.span_id)}-{flags:02x}"


def linked(span: ReadableSpan) -> list[tuple[int, int]]:
    """The spans that it is linked to."""
    return [(link.context.trace_id, link.context.span_id) for link in span.links]


def ids_of(span: ReadableSpan) -> tuple[int, int]:
    return (span.context.trace_id, span.context.span_id)


def is_child(span: ReadableSpan, parent: ReadableSpan) -> bool:
    return span.parent is not None and (
        (span.parent.trace_id, span.parent.span_id) == ids_of(parent)
    )


def metadatas(connection: psycopg.Connection[Any]) -> list[dict[str, Any] | None]:
    """The metadata of all jobs, in the order of their enqueue."""
    rows = connection.execute("SELECT metadata FROM pgqueue.all_jobs ORDER BY id").fetchall()
    return [row[0] for row in rows]
