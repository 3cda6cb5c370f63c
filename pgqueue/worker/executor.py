"""Runs one job to its outcome: on the event loop, in a thread, or in a process child.

Knows no database: a transaction, where a task wants one, is handed in.
"""

import asyncio
import contextvars
import logging
import math
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol

from pgqueue import failure
from pgqueue.context import Context, Scribe, Stop, Why, enter
from pgqueue.effects import Registrar
from pgqueue.job import Job, Reason
from pgqueue.outcome import Died, Outcome, Succeeded, Undecided
from pgqueue.tasks import Task, Tasks
from pgqueue.worker import attempt
from pgqueue.worker.clock import boottime
from pgqueue.worker.gate import pass_gate, pass_gate_in_thread
from pgqueue.worker.holdings import Hold, Terms

log = logging.getLogger("pgqueue.worker")

AnyTask = Task[Any, Any]
Call = Callable[[], Awaitable[Any]]


class ProcessRunner(Protocol):
    """Runs a job in a process of its own, to its outcome."""

    async def run(self, task: AnyTask, job: Job, stop: Stop) -> Outcome: ...


class Ended(Exception):
    """The attempt came to an outcome without this process's handler: middleware sees it pass."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        described = getattr(outcome, "failure", None)
        super().__init__(f"{described.type}: {described.message}" if described else str(outcome))


class Executor:
    """Runs jobs. *transaction* opens a handler's transaction; *children* run process tasks;
    *scribe* takes down what handlers say, *registrar* what they do outside. *lease*: seconds; a
    handler whose lease may have run out behind its own row lock is repeated without a pause, so
    that the row is locked again before anybody can take the job."""

    def __init__(
        self,
        tasks: Tasks,
        *,
        threads: int,
        state: Any = None,
        transaction: Callable[[Context], Any] | None = None,
        children: ProcessRunner | None = None,
        scribe: Scribe | None = None,
        registrar: Registrar | None = None,
        lease: float = math.inf,
    ) -> None:
        self._tasks = tasks
        self._state = state
        self._transaction = transaction
        self._children = children
        self._scribe = scribe
        self._registrar = registrar
        self._lease = lease
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="pgqueue-job")

    async def execute(self, hold: Hold) -> Outcome:
        """Run the job to its outcome. Raises nothing: whatever happens is an outcome."""
        job = hold.job
        started = hold.started if hold.started is not None else boottime()
        context = Context(
            job,
            state=self._state,
            stop=hold.stop,
            transaction=self._transaction,
            scribe=self._scribe,
            registrar=self._registrar,
        )
        enter(context)
        pause: float | None = None
        pauses: Iterator[float] | None = None
        while True:
            try:
                if pause and boottime() - hold.leased_at < self._lease / 2:
                    await asyncio.sleep(pause)
                task = self._tasks[job.task]
                context.codec, context.safety = task.codec, task.safety
                context.on_unknown = task.on_unknown
                if task.has_terms and hold.terms is None:
                    hold.terms = Terms(
                        task.lease,
                        manual=task.heartbeat == "manual",
                        begun=task.executor != "process",
                    )
                call = self._call(task, hold, context)
                for middleware in reversed(self._tasks.middlewares):
                    call = partial(middleware, context, call)
                value = await call()
            except BaseException as error:  # noqa: BLE001  SystemExit and cancellation included
                pauses = pauses or iter(attempt.CONFLICT_PAUSES)
                pause = attempt.pause_before_repeat(error, context, pauses)
                if pause is None:
                    return self._ended(hold, context, error, started)
                context.result = None
            else:
                outcome: Outcome = context.outcome or attempt.succeed(task, job, value, started)
                return outcome

    def time_out(self, hold: Hold) -> None:
        """End an attempt that has had its time. A process child's time is its keeper's affair."""
        if hold.watched and hold.task is not None:
            hold.timed_out = True
            hold.task.cancel()

    def never_started(self, hold: Hold) -> Outcome:
        """Return the outcome of a job that was asked to end before it began."""
        return attempt.stopped(hold.job, hold.stop.why or Why.SHUTDOWN, boottime())

    def close(self) -> None:
        """Take no more jobs; do not wait for threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _call(self, task: AnyTask, hold: Hold, context: Context) -> Call:
        if task.executor == "process":
            return self._gated(task, context, partial(self._in_child, task, hold, context))
        hold.watched = True
        arguments = attempt.decode(task, hold.job, boottime())
        if isinstance(arguments, Died):
            return partial(_end, arguments)
        positional = (context,) if task.signature.takes_context else ()
        function: Call = partial(task.function, *positional, **arguments)
        if task.encrypts:
            context.secrets = task.safety.secrets_of(hold.job)
        if task.safety.asks:
            context.arguments = arguments
        if task.executor == "thread":
            return partial(self._in_thread, task, hold, context, function)
        function = self._gated(task, context, function)
        _listen_for_stop(hold)
        if task.transactional:
            return partial(_in_transaction, context, function)
        return function

    def _gated(self, task: AnyTask, context: Context, call: Call) -> Call:
        """Return *call*, behind the gate if the task has one."""
        if not task.safety.asks:
            return call
        return partial(pass_gate, task.safety, context, self._threads, call)

    async def _in_thread(
        self, task: AnyTask, hold: Hold, context: Context, function: Callable[[], Any]
    ) -> Any:
        if task.safety.asks:
            loop = asyncio.get_running_loop()
            function = partial(pass_gate_in_thread, task.safety, context, loop, function)
        if task.transactional:
            function = partial(_in_sync_transaction, context, function)
        _listen_for_stop(hold, only=Why.LOST)
        copy = contextvars.copy_context()
        hold.thread = self._threads.submit(copy.run, _caught, function)
        value, error = await asyncio.wrap_future(hold.thread)
        if error is not None:
            raise error
        return value

    async def _in_child(self, task: AnyTask, hold: Hold, context: Context) -> Any:
        if self._children is None:
            raise RuntimeError(
                "process tasks need a worker that knows where to import them from; "
                "start it with: pgqueue worker module:tasks"
            )
        outcome = await self._children.run(task, hold.job, hold.stop)
        if not isinstance(outcome, Succeeded):
            raise Ended(outcome)
        context.outcome = outcome
        if outcome.result is None:
            return None
        return task.read_result(outcome.result, job_id=hold.job.id, task=hold.job.task)

    def _ended(self, hold: Hold, context: Context, error: BaseException, started: float) -> Outcome:
        job = hold.job
        if context.outcome is not None:
            if not isinstance(error, (asyncio.CancelledError, Ended)):
                hidden = self._tasks[job.task].encrypts
                said = "error after its transaction was committed"
                if isinstance(context.outcome, Undecided):
                    said = "no answer to its COMMIT; looking what became of it"
                log.warning("%s: %s", job, said, exc_info=None if hidden else error)
            finished: Outcome = context.outcome
            return finished
        if isinstance(error, Ended):
            return error.outcome
        try:
            task = self._tasks[job.task]
        except Exception as unknown:  # noqa: BLE001  claims name only tasks that are known
            ended = boottime()
            described = failure.describe(unknown)
            return Died(job, started, ended, described, Reason.UNDECODABLE)
        if hold.timed_out:
            return attempt.time_out(task, job, started)
        if hold.stop.why is Why.LOST or (
            hold.stop.why is not None and isinstance(error, asyncio.CancelledError)
        ):
            return attempt.stopped(job, hold.stop.why, started)
        return attempt.conclude(task, job, error, started, hold.stop.why)


def _listen_for_stop(hold: Hold, only: Why | None = None) -> None:
    """Cancel the asyncio task on a request to stop. A thread goes on regardless: it is given up
    only when its outcome no longer matters."""
    hold.stop.on_request = partial(_cancel, hold, only)
    if hold.stop.why is not None:
        _cancel(hold, only, hold.stop.why)


def _cancel(hold: Hold, only: Why | None, why: Why) -> None:
    """Called in whichever thread asks."""
    if hold.task is not None and only in (None, why):
        hold.task.get_loop().call_soon_threadsafe(hold.task.cancel)


async def _end(outcome: Outcome) -> Any:
    raise Ended(outcome)


def _caught(function: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    """Call in a thread; a StopIteration or a SystemExit must not escape into a future."""
    try:
        return function(), None
    except BaseException as error:  # noqa: BLE001  raised again on the event loop
        return None, error


def _in_sync_transaction(context: Context, function: Callable[[], Any]) -> Any:
    with context.transaction():
        context.result = function()
    return context.result


async def _in_transaction(context: Context, function: Call) -> Any:
    async with context.transaction():
        context.result = await function()
    return context.result
