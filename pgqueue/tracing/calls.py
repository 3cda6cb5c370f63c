"""The PRODUCER span of a call that enqueues."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from opentelemetry.trace import SpanKind, StatusCode, Tracer, set_span_in_context

from pgqueue.failure import type_of
from pgqueue.metadata import TRACEPARENT
from pgqueue.options import NewJob, check
from pgqueue.tracing.propagation import Propagation, span_in

_QUEUE = "messaging.destination.name"
_TASK = "pgqueue.task"
_DEFAULT_QUEUE = "default"


class Call:
    """One call that enqueues *job*, or (``None``) any number of jobs.

    It is not the present span: what the database driver's own instrumentation tells of goes beside
    it, and the jobs' trace begins with it.
    """

    def __init__(self, tracer: Tracer, propagation: Propagation, job: NewJob | None) -> None:
        self._propagation = propagation
        self._queues: set[str] = set()
        self._tasks: set[str] = set()
        if isinstance(job, NewJob):
            self._note(job)
        self._span = tracer.start_span(
            self._name,
            kind=SpanKind.PRODUCER,
            attributes={
                "messaging.system": "pgqueue",
                "messaging.operation.name": "enqueue",
                "messaging.operation.type": "send",
                **self._common,
            },
        )
        self._carrier = propagation.carrier(set_span_in_context(self._span))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            # Its text may quote an argument or a key.
            self._span.set_attribute("error.type", type_of(error))
            self._span.set_status(StatusCode.ERROR)
        self._span.end()

    def stamp(self, job: NewJob) -> NewJob:
        self._note(check(job))
        return self.carry(job)

    def carry(self, job: NewJob) -> NewJob:
        metadata = job.metadata or {}
        if not isinstance(metadata, Mapping):
            return job  # to be refused by who stores it
        theirs = span_in(self._propagation.context(metadata)) if TRACEPARENT in metadata else None
        if theirs is not None:
            self._span.add_link(theirs)
            return job
        return job._replace(metadata={**metadata, **self._carrier})

    def sent(self, job_id: int, *, duplicate: bool) -> None:
        self._span.set_attribute("messaging.message.id", str(job_id))
        if duplicate:
            self._span.set_attribute("pgqueue.duplicate", True)

    def sent_many(self, count: int, *, batch_id: int | None = None) -> None:
        self._span.update_name(self._name)
        self._span.set_attributes({"messaging.batch.message_count": count, **self._common})
        if batch_id is not None:
            self._span.set_attribute("pgqueue.batch.id", batch_id)

    def _note(self, job: NewJob) -> None:
        if len(self._queues) < 2:
            self._queues.add(job.queue or _DEFAULT_QUEUE)
        if len(self._tasks) < 2:
            self._tasks.add(job.task)

    @property
    def _name(self) -> str:
        return " ".join(["enqueue", *(self._queues if len(self._queues) == 1 else ())])

    @property
    def _common(self) -> dict[str, Any]:
        """What holds for every job of the call."""
        said = {_QUEUE: self._queues, _TASK: self._tasks}
        return {name: min(values) for name, values in said.items() if len(values) == 1}
