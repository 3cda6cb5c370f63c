"""Does in a test's transaction what workers do, one job after the other, moment by moment."""

import uuid
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from typing import Any

from pgqueue.errors import PgqueueError, UnsupportedConnection
from pgqueue.job import Job
from pgqueue.outcome import Cancelled, Died, Lost, Outcome, Retried, Snoozed, Succeeded
from pgqueue.signals import Signal
from pgqueue.storage import batches, claiming, finishing, jobs, noting, rehearsal, schedules, upkeep
from pgqueue.storage.operation import Operation
from pgqueue.tasks import Tasks
from pgqueue.testing.desks import Desk
from pgqueue.testing.executing import InProcessExecutor
from pgqueue.testing.joining import Joined
from pgqueue.testing.values import Attempt, Drained
from pgqueue.timetable.misfire import judge
from pgqueue.timetable.schedule import words_of
from pgqueue.timetable.zones import tzdata_version
from pgqueue.worker.clock import boottime
from pgqueue.worker.effects import Effects
from pgqueue.worker.holdings import Holdings
from pgqueue.worker.hooks import Reporter
from pgqueue.worker.leases import Leases
from pgqueue.worker.notes import Notes
from pgqueue.worker.tally import Tally

ENDLESS = 10_000
"""A drain that has run so many attempts will never end by itself."""
_LEASE = timedelta(hours=1)
_AT_ONCE = 1000

_WORDS: dict[type[Outcome], str] = {
    Succeeded: "succeeded",
    Retried: "retried",
    Died: "dead",
    Cancelled: "cancelled",
    Snoozed: "snoozed",
    Lost: "lost",
}


class DrainFailed(PgqueueError):
    """An attempt failed without an exception of its handler's, such as by its timeout."""


class Rehearsal:
    """One drain."""

    def __init__(
        self,
        desk: Desk,
        tasks: Tasks,
        *,
        queues: Sequence[str] | None,
        limit: int | None,
        raise_errors: bool,
        state: Any,
    ) -> None:
        self._desk = desk
        self._tasks = tasks
        self._queues = queues
        self._limit = limit
        self._raise_errors = raise_errors
        self._state = state
        self._worker_id = str(uuid.uuid4())
        self._holdings = Holdings()
        leases = Leases(_LEASE.total_seconds(), on_ask=lambda: None)
        self._notes = Notes(self._holdings, leases, on_due=lambda _: None)
        self._joined = Joined(desk, tasks, self._notes, self._worker_id)
        self._ticks = False
        self._attempts: list[Attempt] = []

    async def run(self, until: timedelta | None) -> Drained:
        """Run what is available; with *until* also what falls due within so much time."""
        self._ticks = until is not None
        declared = [task.defaults for task in self._tasks]
        await self._desk.run(upkeep.sync_changed_tasks(declared, self._tasks.targets))
        if self._ticks and self._tasks.schedules:
            await self._desk.run(schedules.sync(self._tasks.schedules.values()))
        async with AsyncExitStack() as stack:
            if self._state is None and self._tasks.lifespan is not None:
                self._state = await stack.enter_async_context(self._tasks.lifespan())
            transaction = None if self._tasks.transaction is None else self._joined
            effects = Effects(lambda make: self._desk.run(make()), worker_id=self._worker_id)
            self._executor = InProcessExecutor(
                self._tasks, self._state, transaction, self._notes, effects
            )
            stack.callback(self._executor.close)
            untold = Tally()  # a test's jobs are in no statistics
            self._reporter = Reporter(self._tasks, self._worker_id, untold, on_retry=lambda _: None)
            stack.push_async_callback(self._reporter.finish, 0)
            if until is None:
                await self._work()
                return Drained(self._attempts)
            return Drained(self._attempts, await self._work_until(until))

    async def _work_until(self, until: timedelta) -> datetime:
        """Go from one moment at which something is due to the next; return where time stands."""
        now = await self._desk.run(rehearsal.stop_clock())
        end = now + until
        while True:
            await self._work()
            if self._is_full:
                return now
            if now >= end:
                return now
            moment = await self._desk.run(rehearsal.find_next_moment())
            now = await self._desk.run(rehearsal.stop_clock(min(moment or end, end)))

    async def _work(self) -> None:
        """Do all that there is to do at this moment, and what comes of that."""
        went_on = True
        while went_on and not self._is_full:
            await self._desk.run(jobs.stage(limit=_AT_ONCE))
            await self._desk.run(jobs.expire(limit=_AT_ONCE))
            went_on = self._ticks and await self._tick()
            went_on = await self._run_available() or went_on
            closed = await self._desk.run(batches.close_batches(after_id=0, limit=_AT_ONCE))
            went_on = bool(closed) or went_on

    async def _tick(self) -> bool:
        """Tick the schedules that are due; return whether any was."""
        made = await self._desk.run(schedules.run_queued(limit=_AT_ONCE))
        look = await self._desk.run(schedules.look(limit=_AT_ONCE))
        for seen in look.due:
            timing = seen.timing()
            due = judge(timing, seen.rules, ticked_until=seen.ticked_until, now=look.now)
            tick = schedules.tick(seen, due, words=words_of(timing), tzdata=tzdata_version())
            await self._desk.run(tick)
            made += len(due.ticks)
        return bool(made)

    async def _run_available(self) -> bool:
        """Run one available job after the other; return whether there was one."""
        before = len(self._attempts)
        while not self._is_full:
            claimed = await self._claim()
            if claimed is None or not claimed.jobs:
                break
            await self._run_one(claimed.jobs[0], claimed.at)
        return len(self._attempts) > before

    async def _claim(self) -> claiming.Claimed | None:
        names = self._tasks.names
        find = rehearsal.find_next_queue(tasks=names, queues=self._queues)
        queue = await self._desk.run(find)
        if queue is None:
            return None
        return await self._desk.run(
            claiming.claim(worker_id=self._worker_id, limits={queue: 1}, tasks=names, lease=_LEASE)
        )

    async def _run_one(self, job: Job, at: datetime) -> None:
        (hold,) = self._holdings.add([job], boottime())
        outcome = await self._executor.run(hold)
        succeeded = self._joined.take(job)
        error = self._executor.take_error()
        try:
            outcome = await self._write(outcome)
        except UnsupportedConnection as problem:
            raise problem from error  # a handler has spoilt the test's transaction
        self._holdings.drop(job)
        self._reporter.report(outcome)
        await self._reporter.settle()
        attempt = self._describe(succeeded or outcome, error, at)
        self._attempts.append(attempt)
        if self._raise_errors and attempt.outcome in ("retried", "dead"):
            _raise(attempt)

    async def _write(self, outcome: Outcome) -> Outcome:
        """Write what the attempt has said and what it came to; return that, or that it was lost."""
        said = self._notes.take([outcome])
        await self._desk.run(noting.write(said, worker_id=self._worker_id, moment=boottime()))
        self._notes.written(said)
        if not finishing.is_finish(outcome):
            return outcome
        return await self._desk.run(_finish(outcome, self._worker_id)) or Lost(*outcome[:3])

    def _read(self, job: Job, result: str) -> Any:
        return self._tasks[job.task].read_result(result, job_id=job.id, task=job.task)

    def _describe(self, outcome: Outcome, error: BaseException | None, at: datetime) -> Attempt:
        job = outcome.job
        result = getattr(outcome, "result", None)
        failure = getattr(outcome, "failure", None)
        return Attempt(
            id=job.id,
            task=job.task,
            queue=job.queue,
            attempt=job.attempt,
            at=at,
            outcome=_WORDS[type(outcome)],
            result=None if result is None else self._read(job, result),
            error=error,
            failure=None if failure is None else f"{failure.type}: {failure.message}",
            reason=getattr(outcome, "reason", None),
            delay=getattr(outcome, "delay", None),
        )

    @property
    def _is_full(self) -> bool:
        if self._limit is not None and len(self._attempts) >= self._limit:
            return True
        if len(self._attempts) >= ENDLESS:
            raise PgqueueError(
                f"{ENDLESS} attempts were run and there is more to do: does a job enqueue "
                "itself without end? Say limit=, or a shorter until="
            )
        return False


def _finish(outcome: Outcome, worker_id: str) -> Operation[Outcome | None]:
    """Write *outcome*; return what the database has taken it for: somebody may have cancelled."""
    writes = finishing.finishes([outcome], worker_id=worker_id, moment=boottime())
    answers = []
    for write in writes:
        answers.append((yield write.statement))
    return finishing.accepted(writes, answers).get(outcome.job.id)


def _raise(attempt: Attempt) -> None:
    """Raise what *attempt* failed with, unless the handler only said what is to become of it."""
    error = attempt.error
    if isinstance(error, Signal):
        return
    where = f"raised by {attempt.task}[{attempt.id}], attempt {attempt.attempt}, in a drain"
    if isinstance(error, Exception):
        error.add_note(where)
        raise error
    raise DrainFailed(str(attempt))
