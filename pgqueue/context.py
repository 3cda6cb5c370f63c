"""What a handler can ask about the job it is running."""

import json
import logging
from collections.abc import Callable, MutableMapping
from contextvars import ContextVar
from enum import Enum
from typing import Any

from pgqueue.errors import PgqueueError
from pgqueue.job import Job
from pgqueue.signals import Cancel

_current: ContextVar["Context | None"] = ContextVar("pgqueue_job", default=None)


class Why(Enum):
    """Why a running attempt is to end early."""

    CANCELLED = "cancelled by a person"
    LOST = "its lease was lost"
    SHUTDOWN = "the worker stops"


class Stop:
    """Tells one attempt that it is to end, and why. The first reason stands.

    Requested from any thread; *on_request* is called in that thread, once. Once ``closed`` it is
    too late: the attempt's outcome is known and being written.
    """

    __slots__ = ("closed", "on_request", "why")

    def __init__(self) -> None:
        self.why: Why | None = None
        self.closed = False
        self.on_request: Callable[[Why], None] | None = None

    def request(self, why: Why) -> None:
        """Ask the attempt to end."""
        if self.why is None and not self.closed:
            self.why = why
            if self.on_request is not None:
                self.on_request(why)


class Context:
    """One attempt, seen from inside. A handler gets it as its first parameter ``ctx: Context``,
    or anywhere below it from :func:`current_job`."""

    def __init__(
        self,
        job: Job,
        *,
        state: Any = None,
        stop: Stop | None = None,
        transaction: "Callable[[Context], Any] | None" = None,
    ) -> None:
        self.job = job
        self.state = state
        """What the worker's lifespan yielded."""
        self.result: Any = None
        """The job's result, for a handler that finishes inside ``ctx.transaction()``."""
        self.connection: Any = None
        """The connection or session of the handler's transaction, while it is open."""
        self.outcome: Any = None
        """What became of a job that was finished inside ``ctx.transaction()``."""
        self.stop = stop or Stop()
        self._transaction = transaction
        self._log: logging.LoggerAdapter[logging.Logger] | None = None

    @property
    def id(self) -> int:
        return self.job.id

    @property
    def task(self) -> str:
        return self.job.task

    @property
    def queue(self) -> str:
        return self.job.queue

    @property
    def actor(self) -> str | None:
        return self.job.actor

    @property
    def attempt(self) -> int:
        """The number of this claim: with the id, a token that no other attempt ever has."""
        return self.job.attempt

    @property
    def run(self) -> int:
        """Which of ``max_attempts`` runs this is, from 1."""
        return self.job.run

    @property
    def max_attempts(self) -> int:
        return self.job.max_attempts

    @property
    def metadata(self) -> dict[str, Any]:
        """What was said as ``metadata=`` at the enqueue."""
        return json.loads(self.job.metadata) if self.job.metadata else {}

    @property
    def session(self) -> Any:
        """The same as :attr:`connection`, for those who were given a session."""
        return self.connection

    @property
    def log(self) -> "logging.LoggerAdapter[logging.Logger]":
        """A logger whose every line carries job_id, attempt, queue and task."""
        if self._log is None:
            self._log = _JobLog(logging.getLogger("pgqueue.job"), log_fields(self))
        return self._log

    @property
    def cancelled(self) -> bool:
        """Whether this attempt is to end: cancelled, its lease lost, or the worker stopping."""
        return self.stop.why is not None

    def check_cancelled(self) -> None:
        """Stop here if this attempt is to end: for threads, which nothing can interrupt.

        A job that was cancelled is cancelled; one whose worker stops is given back uncharged.
        """
        if self.cancelled:
            raise Cancel("stopped at a checkpoint")

    def transaction(self) -> Any:
        """Return a context manager for a transaction that also finishes this job.

        It gives the connection or session of ``Tasks(transaction=…)``; ``async with`` where that
        is async. Leaving it commits the handler's work and the job's completion together, or, when
        the lease was lost, neither. Set ``ctx.result`` inside it to store a result. A serialization
        failure or a deadlock has the whole handler called again, up to three times.
        """
        if self._transaction is None:
            raise PgqueueError(
                f"task {self.task!r} has no database to open a transaction on; "
                "give it one: Tasks(transaction=sessionmaker(engine))"
            )
        return self._transaction(self)

    def __repr__(self) -> str:
        return f"<Context {self.job} attempt {self.attempt}>"


class _JobLog(logging.LoggerAdapter[logging.Logger]):
    """Adds the job's fields to what the caller gives as ``extra``."""

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs


def current_job() -> Context:
    """Return the context of the job that is running here. Raises PgqueueError outside of one."""
    context = _current.get()
    if context is None:
        raise PgqueueError("no job is running here; current_job() works inside a handler")
    return context


def enter(context: Context) -> None:
    """Make *context* the current one, in this task's or thread's copy of the contextvars."""
    _current.set(context)


def log_fields(context: Context) -> dict[str, Any]:
    """The fields that identify a job in a log line."""
    job = context.job
    return {"job_id": job.id, "attempt": job.attempt, "queue": job.queue, "task": job.task}


class JobFields(logging.Filter):
    """Adds job_id, attempt, queue and task to every record that is logged while a job runs.

    Put it on a handler: ``handler.addFilter(JobFields())``. The worker command does so by itself.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        context = _current.get()
        fields: MutableMapping[str, Any] = record.__dict__
        if context is not None and "job_id" not in fields:
            fields.update(log_fields(context))
        return True
