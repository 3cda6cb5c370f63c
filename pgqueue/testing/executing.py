"""Runs one attempt in a test, by the worker's executor."""

import asyncio
import copy
from typing import Any, cast

from pgqueue import tracer
from pgqueue.context import Context
from pgqueue.outcome import Outcome
from pgqueue.tasks import Task, Tasks
from pgqueue.testing.joining import Joined
from pgqueue.worker.clock import boottime
from pgqueue.worker.effects import Effects
from pgqueue.worker.executor import Call, Ended, Executor
from pgqueue.worker.holdings import Hold
from pgqueue.worker.notes import Notes


class InProcessExecutor(Executor):
    """The worker's, in a test: process tasks run in a thread of this process, no thread outlives
    its attempt, and what an attempt ended with is kept."""

    def __init__(
        self,
        tasks: Tasks,
        state: Any,
        transaction: Joined | None,
        notes: Notes,
        effects: Effects,
    ) -> None:
        super().__init__(
            tasks,
            threads=1,
            state=state,
            transaction=transaction,
            scribe=notes,
            registrar=effects,
        )
        self._error: BaseException | None = None

    async def run(self, hold: Hold) -> Outcome:
        """Run the job to its outcome, and end it when its time is up."""
        hold.started = boottime()
        attempt = self.execute(hold)
        if tracer.active is not None:
            attempt = tracer.active.attempt(hold.job, attempt)
        running = asyncio.ensure_future(attempt)
        hold.task = cast(asyncio.Task[None], running)  # it is only ever cancelled
        if hold.job.timeout is not None:
            loop = asyncio.get_running_loop()
            bell = loop.call_later(hold.job.timeout, self.time_out, hold)
            running.add_done_callback(lambda _: bell.cancel())
        try:
            await asyncio.wait({running})
        except asyncio.CancelledError:
            running.cancel()
            raise
        if hold.thread is not None:
            await asyncio.wait({asyncio.wrap_future(hold.thread)})
        hold.outcome = running.result()
        return hold.outcome

    def take_error(self) -> BaseException | None:
        error, self._error = self._error, None
        return error

    def _call(self, task: Task[Any, Any], hold: Hold, context: Context) -> Call:
        if task.executor == "process":
            task = copy.copy(task)
            task.executor = "thread"
        return super()._call(task, hold, context)

    def _ended(self, hold: Hold, context: Context, error: BaseException, started: float) -> Outcome:
        if not (hold.timed_out or isinstance(error, Ended)):
            self._error = error
        return super()._ended(hold, context, error, started)
