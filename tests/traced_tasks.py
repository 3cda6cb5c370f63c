"""Tasks of a worker that traces: every process of it writes its spans to a file of its own. They
log by the standard library and by structlog."""

import asyncio
import json
import logging
import os
import warnings
from pathlib import Path

import structlog
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

from pgqueue import Context, Tasks
from pgqueue.tracing import instrument
from tests.worker_tasks import JOURNAL

_spans = Path(os.environ[JOURNAL]) / f"{os.getpid()}.spans"
provider = TracerProvider()
provider.add_span_processor(
    SimpleSpanProcessor(
        ConsoleSpanExporter(
            out=_spans.open("a"),
            formatter=lambda span: json.dumps(json.loads(span.to_json())) + "\n",
        )
    )
)
trace.set_tracer_provider(provider)
instrument()

structlog.configure(
    processors=[structlog.contextvars.merge_contextvars, structlog.stdlib.render_to_log_kwargs],
    wrapper_class=structlog.stdlib.BoundLogger,
    logger_factory=structlog.stdlib.LoggerFactory(),
)

tasks = Tasks()
log = logging.getLogger("shop")
slog = structlog.get_logger("shop.structured")


def speak() -> None:
    with trace.get_tracer("shop").start_as_current_span("work"):
        log.info("working\r\nhard \x1b[31m\x9b31m\u2028 at it")
        slog.info("counted", books=3)


@tasks.task("on-loop")
async def on_loop(ctx: Context) -> None:
    await asyncio.sleep(0)
    speak()


@tasks.task("in-thread")
def in_thread() -> None:
    speak()


@tasks.task("in-child", executor="process")
def in_child() -> None:
    speak()
    try:
        raise ValueError("of the child; password=hunter2")
    except ValueError:
        log.exception("caught")


@tasks.task("fails", max_attempts=1)
async def fails() -> None:
    warnings.warn("two\nlines", UserWarning, stacklevel=1)
    raise ValueError("no\nsuch password=hunter2")
