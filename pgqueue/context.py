"""What a handler can ask about the job it is running."""

import contextvars
import json
import logging
import math
import os
import sys
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import suppress
from contextvars import ContextVar
from datetime import datetime
from enum import Enum
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from pgqueue import tracer
from pgqueue.coding.codec import Codec
from pgqueue.effects import KEEP, Once, Registrar
from pgqueue.errors import InvalidOption, LeaseLost, PgqueueError
from pgqueue.failure import type_of
from pgqueue.job import CALLBACK_OF, Job
from pgqueue.joblog import JobLog
from pgqueue.metadata import trace_id_of
from pgqueue.notes import CHECKPOINT_LIMIT, DETAIL_LIMIT, Checkpoint, Line, Note, Report
from pgqueue.options import Seconds, milliseconds
from pgqueue.signals import Cancel

_formatter = logging.Formatter()
_OWN = frozenset(logging.makeLogRecord({}).__dict__) - {"exc_text", "stack_info"}
_current: ContextVar["Context | None"] = ContextVar("pgqueue_job", default=None)
_worker: ContextVar[str | None] = ContextVar("pgqueue_worker", default=None)


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
            on_request = self.on_request
            if on_request is not None:
                on_request(why)

    def close(self) -> None:
        """The attempt is over. Whom to tell is forgotten, so that no cycle keeps the job in memory
        until the garbage collector comes by."""
        self.closed = True
        self.on_request = None


class Scribe(Protocol):
    """Takes down what running jobs say of themselves; called from any thread."""

    def note(self, job: Job, note: Note) -> None:
        """Take down *note*. Does not wait. Raises :class:`LeaseLost` if the attempt is over."""

    def extend(self, job: Job, seconds: float) -> None:
        """Have the lease of *job* last for *seconds*; see :meth:`Context.extend`."""


class Discretion(Protocol):
    """Decides in which form what a job says is stored."""

    def stored_note(self, job: Job, note: Note) -> Note:
        """Return *note* without credentials, and encrypted if it is to be."""

    def opened(self, text: str, task: str, job_id: int, place: str) -> str:
        """Return what was stored in the clear. Raises :class:`UndecodablePayload`."""


class Context:
    """One attempt, seen from inside. A handler gets it as its first parameter ``ctx: Context``,
    or anywhere below it from :func:`current_job`.

    What is said by :meth:`progress`, :meth:`checkpoint` and :attr:`log` goes to the database about
    once a second, and with the attempt's outcome at the latest. All of it may be said from any
    thread, and from a process child. A *codec* turns values into JSON, the task's *safety* keeps
    secrets out of it, a *scribe* takes it down; without one, in a test say, nobody hears it."""

    _log: JobLog | None = None
    _saved: str | None = None
    result: Any = None
    """The job's result, for a handler that finishes inside ``ctx.transaction()``."""
    connection: Any = None
    """The connection or session of the handler's transaction, while it is open."""
    arguments: Mapping[str, Any] | None = None
    """The handler's arguments, while ``authorize`` is asked."""
    secrets: tuple[str, ...] = ()
    """What is encrypted among them: no line of the log shows it."""
    outcome: Any = None
    """What became of a job that was finished inside ``ctx.transaction()``."""
    on_unknown: Callable[["Context", str], Any] | None = None
    """Whom :meth:`once` asks about what nobody knows."""

    def __init__(
        self,
        job: Job,
        *,
        state: Any = None,
        stop: Stop | None = None,
        transaction: "Callable[[Context], Any] | None" = None,
        codec: Codec | None = None,
        safety: Discretion | None = None,
        scribe: Scribe | None = None,
        registrar: Registrar | None = None,
    ) -> None:
        self.job = job
        self.state = state
        """What the worker's lifespan yielded."""
        self.stop = stop or Stop()
        self.codec = codec
        self.safety = safety
        self.registrar = registrar
        self.effects: set[str] = set()
        """The keys of :meth:`once` that the handler is inside of."""
        self._transaction = transaction
        self._scribe = scribe

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
    def batch_id(self) -> int | None:
        """The batch that the job is a part of, or whose end it is a callback of."""
        if self.job.batch_id is not None or self.job.metadata is None:
            return self.job.batch_id
        return self.metadata.get(CALLBACK_OF)

    @property
    def scheduled_for(self) -> datetime | None:
        """Which tick of a schedule this job is for, by the clocks of the schedule's zone, however
        late it runs. Of one that was run by hand: when that was. None: no schedule made it."""
        moment = self.job.scheduled_for
        if moment is None:
            return None
        return moment.astimezone(ZoneInfo(self.metadata.get("schedule", {}).get("tz", "UTC")))

    @property
    def session(self) -> Any:
        """The same as :attr:`connection`, for those who were given a session."""
        return self.connection

    @property
    def log(self) -> JobLog:
        """A logger whose every line carries job_id, attempt, queue and task.

        Used as any other (``ctx.log.warning("slow: %s", host)``), or called:
        ``ctx.log("sent", to=3)``. Lines of INFO and above are also kept with the attempt for 30
        days, the first 200 of each, 8 KiB a line.
        """
        if self._log is None:
            self._log = JobLog(logging.getLogger("pgqueue.job"), _identity(self), self._keep_line)
        return self._log

    def progress(
        self,
        done: float | Mapping[str, Any] | None = None,
        total: float | None = None,
        **detail: Any,
    ) -> None:
        """Say how far this attempt has come: ``progress(300, 10_000)``, ``progress(40, 100,
        stage="reading")`` or ``progress({"stage": "reading"})``.

        Cheap enough to be called for every item: it is written once a second at most, its first
        value, 0 % and 100 % at once. What is not said stays as it was. Ends the attempt as
        :meth:`check_cancelled` does. Raises :class:`InvalidOption`, :class:`InvalidPayload`.
        """
        if isinstance(done, Mapping):
            detail = {**done, **detail}
            done = None
        said = Report(
            _amount("done", done),
            _amount("total", total),
            self._dumps(detail, "progress", DETAIL_LIMIT) if detail else None,
        )
        self._note(said)

    def checkpoint(self, value: Any) -> None:
        """Leave *value* for the next attempt, which finds it in :attr:`last_checkpoint`.

        Any value that could be an argument of the task, up to 64 KiB of JSON. It is written within
        about a second: a worker that vanishes may lose the last one, so the work since the one
        before must bear repeating. Ends the attempt as :meth:`check_cancelled` does, with *value*
        kept. Raises :class:`InvalidPayload`.
        """
        self._saved = self._dumps(value, "checkpoint", CHECKPOINT_LIMIT)
        self._note(Checkpoint(self._saved))

    @property
    def last_checkpoint(self) -> Any:
        """What :meth:`checkpoint` was given last, by this attempt or an earlier one, or None.

        Raises :class:`UndecodablePayload` if the code no longer knows its types.
        """
        saved = self._saved or self.job.checkpoint
        if saved is None:
            return None
        if self._saved is None and self.safety is not None:
            saved = self.safety.opened(saved, self.task, self.id, "checkpoint")
        return (self.codec or Codec()).loads(saved)

    def extend(self, seconds: Seconds) -> None:
        """Have the lease of this job last for *seconds* from now, 1 at least; no coroutine.

        For so long a worker that vanishes is waited for, before another gets the job.

        The heartbeat renews it from now on for so long each time; of a task with
        ``heartbeat="manual"`` it does so only after each call of this. Should the lease have run
        out, this waits for the database to say whether the job is still ours, 5 s at most, and goes
        on if there is no answer. Raises :class:`LeaseLost` if it is not, and ends the attempt as
        :meth:`check_cancelled` does.
        """
        wanted = milliseconds(seconds, "seconds") / 1000
        if wanted < 1:
            raise InvalidOption("seconds", f"must be at least 1, not {seconds!r}")
        if self._scribe is not None:
            self._scribe.extend(self.job, wanted)
        self.check_cancelled()

    @property
    def cancelled(self) -> bool:
        """Whether this attempt is to end: cancelled, its lease lost, or the worker stopping."""
        return self.stop.why is not None

    def check_cancelled(self) -> None:
        """Stop here if this attempt is to end: for threads, which nothing can interrupt.

        Raises :class:`Cancel`: a job that was cancelled is cancelled, one whose worker stops is
        given back uncharged. Raises :class:`LeaseLost` if the lease was lost.
        """
        if self.stop.why is Why.LOST:
            raise LeaseLost(self.id, self.attempt)
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

    def once(
        self,
        key: str,
        *,
        undone_by: type[BaseException] | tuple[type[BaseException], ...] = (),
        keep: Seconds = KEEP,
    ) -> Once:
        """Guard a call to the outside that must not be silently repeated: ``with
        ctx.once("welcome:123") as first:`` in a thread or process child, ``async with`` on the
        event loop. Do it if *first*; otherwise it is done, by this job or another of its task.

        That it is begun is committed, on a connection of the worker's own, before the body runs,
        and that it is done after it. What was begun by an attempt that is over, and is not done,
        nobody knows: the task's ``on_unknown`` is asked, else :class:`UnknownOutcome` is raised and
        the job is dead, until a person says what happened (``pgqueue effects``). While another
        attempt is at it this raises :class:`Snooze`: the job comes again shortly.

        An exception in the body tells nothing of what happened outside (a timeout!), so it leaves
        the outcome unknown, unless it is one of *undone_by*, of which you know that they mean that
        nothing happened: ``undone_by=(ConnectionRefusedError,)``; then the retry may do it.

        *key*: text, 1 to 500 characters, stored in the clear. *keep*: for how long it is known that
        it was done; 90 days. Without a registrar, as in a context that a test made, nothing is
        written down and it is always first. Raises :class:`LeaseLost` if the job is no longer ours,
        :class:`TimeoutError` if the database does not answer within a minute.
        """
        return Once(self, key, undone_by, keep)

    def _note(self, note: Note) -> None:
        """Have *note* taken down, then stop here if this attempt is to end."""
        if self._scribe is not None:
            self._scribe.note(self.job, self._stored(note))
        self.check_cancelled()

    def _keep_line(self, line: Line) -> None:
        """Have *line* taken down; one that comes too late is only logged."""
        if self._scribe is not None:
            with suppress(LeaseLost):
                self._scribe.note(self.job, self._stored(line))

    def _stored(self, note: Note) -> Note:
        return note if self.safety is None else self.safety.stored_note(self.job, note)

    def _dumps(self, value: Any, what: str, limit: int) -> str:
        return (self.codec or Codec()).dumps(value, what=what, limit=limit)

    def __repr__(self) -> str:
        return f"<Context {self.job} attempt {self.attempt}>"


def _amount(name: str, value: Any) -> float | None:
    """Return a quantity of work as a number; raise InvalidOption if it cannot be one."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise InvalidOption(name, f"must be a number from 0 on, not {value!r:.80}")
    return float(min(value, sys.float_info.max))


def current_job() -> Context:
    """Return the context of the job that is running here. Raises PgqueueError outside of one."""
    context = _current.get()
    if context is None:
        raise PgqueueError("no job is running here; current_job() works inside a handler")
    return context


def present_actor() -> str | None:
    """Return for whom the job runs that is running here; None outside of one, and for nobody's."""
    context = _current.get()
    return None if context is None else context.actor


def enter(context: Context) -> None:
    """Make *context* the current one, in this task's or thread's copy of the contextvars."""
    _current.set(context)


def enter_worker(worker_id: str) -> None:
    """Make this the worker to which whatever runs in this copy of the contextvars belongs."""
    _worker.set(worker_id)


def worker_id() -> str | None:
    """The id of the worker to which what runs here belongs."""
    return _worker.get()


def jobless() -> contextvars.Context:
    """A context that knows the worker, and no job."""
    context = contextvars.Context()
    context.run(_worker.set, _worker.get())
    return context


def log_fields(context: Context | None = None) -> dict[str, Any]:
    """The fields that identify the job that runs here (or that of *context*) in a log line; none
    where no job runs.

    ``job_id``, ``attempt``, ``queue``, ``task``, ``run`` (which of ``max_attempts`` it is, from 1),
    and where they are known ``worker_id``, ``trace_id`` and ``span_id``: of the present span if
    there is one, else the trace of whoever enqueued the job.
    """
    context = context or _current.get()
    if context is None:
        return {}
    fields = _identity(context) | {"run": context.run}
    if worker := worker_id():
        fields["worker_id"] = worker
    return fields | (_span_fields() or _trace_fields(context.job))


def _identity(context: Context) -> dict[str, Any]:
    job = context.job
    return {"job_id": job.id, "attempt": job.attempt, "queue": job.queue, "task": job.task}


def _span_fields() -> dict[str, str]:
    return {} if tracer.active is None else tracer.active.log_fields()


def _trace_fields(job: Job) -> dict[str, str]:
    trace_id = trace_id_of(job.metadata)
    return {} if trace_id is None else {"trace_id": trace_id}


class JobFields(logging.Filter):
    """Adds the fields of :func:`log_fields` to every record that is logged while a job runs,
    ``worker_id``, ``trace_id`` and ``span_id`` to every other one for which they are known, and
    takes out what is encrypted of the job's arguments.

    Put it on a handler: ``handler.addFilter(JobFields())``. The worker command does so by itself.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        context = _current.get()
        fields: MutableMapping[str, Any] = record.__dict__
        if record.process in (None, os.getpid()):  # a process child's knows its own
            is_mine = context is not None and fields.get("job_id", context.id) == context.id
            for name, value in (log_fields(context) if is_mine else _span_fields()).items():
                fields.setdefault(name, value)
        if worker := worker_id():
            fields.setdefault("worker_id", worker)
        if context is not None and context.secrets:
            _hide(record, context.secrets)
        return True


def settle_exception(record: logging.LogRecord) -> None:
    """Let *record* tell of its exception as text and as the name of a type, and hold it no more."""
    if record.exc_info and record.exc_info[1] is not None:
        record.exc_text = record.exc_text or _formatter.formatException(record.exc_info)
        record.exc_type = type_of(record.exc_info[1])
    record.exc_info = None


def _hide(record: logging.LogRecord, secrets: tuple[str, ...]) -> None:
    """Put ``[encrypted]`` for each of *secrets* in all that *record* says."""

    def hidden(value: Any) -> Any:
        text = value if isinstance(value, str) else str(value)
        if not any(secret in text for secret in secrets):
            return value
        for secret in secrets:
            text = text.replace(secret, "[encrypted]")
        return text

    settle_exception(record)
    if isinstance(record.msg, dict):  # an event of structlog's
        record.msg = {name: hidden(value) for name, value in record.msg.items()}
    else:
        record.msg, record.args = hidden(record.getMessage()), None
    for name, value in list(record.__dict__.items()):
        if name not in _OWN and value is not None:
            record.__dict__[name] = hidden(value)
