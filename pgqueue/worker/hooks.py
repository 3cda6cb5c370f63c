"""Reports outcomes that are in the database: to the tally, the log, and the application's hooks."""

import asyncio
import inspect
import logging
import math
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from pgqueue.events import JobEvent
from pgqueue.job import Job, Reason
from pgqueue.metadata import trace_id_of
from pgqueue.outcome import Committed, Crashed, Died, Outcome, Retried, Snoozed, Succeeded
from pgqueue.secrecy.redaction import shown
from pgqueue.tasks import Tasks
from pgqueue.worker.tally import Tally

log = logging.getLogger("pgqueue.worker")


class Reporter:
    """Called for each outcome after its commit: at most once, and never changing the outcome.

    *on_retry* gets the seconds until a job that was put back falls due.
    """

    def __init__(
        self, tasks: Tasks, worker_id: str, tally: Tally, *, on_retry: Callable[[float], None]
    ) -> None:
        self._tasks = tasks
        self._worker_id = worker_id
        self._tally = tally
        self._on_retry = on_retry
        self._running: set[asyncio.Future[Any]] = set()
        # Not the loop's own threads: a hook that hangs would take them from all that needs one.
        self._threads = ThreadPoolExecutor(thread_name_prefix="pgqueue-job-hook")
        self._targets = {
            name: tasks[name].target_runtime for name in tasks.names if tasks[name].target_runtime
        }
        self.over_target: Counter[str] = Counter()
        """Task -> how many attempts took longer than its ``target_runtime``."""

    def report(self, outcome: Outcome) -> None:
        """Count *outcome*, log it, and start the hooks that want it."""
        self._tally.end(outcome)
        took = outcome.ended - outcome.started
        if took > (self._targets.get(outcome.job.task) or math.inf):
            self._note_slow(outcome.job, took)
        if isinstance(outcome, (Succeeded, Committed)):
            if self._tasks.succeeded_hooks:
                self._call(self._tasks.succeeded_hooks, self._event(outcome))
            return
        if isinstance(outcome, (Retried, Snoozed)):
            self._on_retry(outcome.delay)
        if isinstance(outcome, (Retried, Died, Crashed)):
            event = self._event(outcome)
            _log_failure(event)
            self._call(self._tasks.attempt_failed_hooks, event)
            if not event.will_retry:
                self._call(self._tasks.dead_hooks, event)

    async def settle(self, seconds: float | None = None) -> None:
        """Wait until the hooks that run have ended, for so many seconds at most."""
        if self._running:
            await asyncio.wait(self._running, timeout=seconds)

    async def finish(self, seconds: float) -> None:
        """Give running hooks some time to end; call no more."""
        await self.settle(seconds)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _note_slow(self, job: Job, took: float) -> None:
        self.over_target[job.task] += 1
        log.info(
            "job_over_target %s took %.1f s, and is to take %g s at most",
            job,
            took,
            self._targets[job.task],
            extra={"job_id": job.id, "attempt": job.attempt, "task": job.task},
        )

    def _call(self, hooks: Sequence[Callable[[JobEvent], Any]], event: JobEvent) -> None:
        for hook in hooks:
            future = asyncio.ensure_future(self._guarded(hook, event))
            self._running.add(future)
            future.add_done_callback(self._running.discard)

    async def _guarded(self, hook: Callable[[JobEvent], Any], event: JobEvent) -> None:
        try:
            if inspect.iscoroutinefunction(hook):
                await hook(event)
            else:
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(self._threads, partial(hook, event))
        except Exception:
            log.exception("hook %r failed for job %d", hook, event.job_id)

    def _event(self, outcome: Outcome) -> JobEvent:
        job = outcome.job
        charged = isinstance(outcome, (Retried, Died))
        failure = outcome.failure if isinstance(outcome, (Retried, Died)) else None
        delay = outcome.delay if isinstance(outcome, Retried) else None
        dead, reason = False, None
        if isinstance(outcome, Died):
            dead, reason = True, outcome.reason
        elif isinstance(outcome, Crashed):
            dead = job.crashes + 1 >= job.max_crashes
            reason = Reason.CRASHED if dead else None
        return JobEvent(
            job_id=job.id,
            job_name=job.task,
            queue=job.queue,
            worker=self._worker_id,
            attempt=job.attempt,
            attempts_made=job.failures + charged + isinstance(outcome, (Succeeded, Committed)),
            max_attempts=job.max_attempts,
            will_retry=isinstance(outcome, (Retried, Crashed)) and not dead,
            next_run_at=None if delay is None else datetime.now(UTC) + timedelta(seconds=delay),
            error=outcome.why
            if isinstance(outcome, Crashed)
            else failure and shown(failure.message),
            error_type="Crashed" if isinstance(outcome, Crashed) else failure and failure.type,
            fingerprint=failure and failure.fingerprint,
            reason=reason,
            trace_id=trace_id_of(job.metadata),
        )


def _log_failure(event: JobEvent) -> None:
    fate = "will be tried again" if event.will_retry else f"dead: {event.reason}"
    log.warning(
        "job_failed %s[%d] run %d of %d: %s: %s (%s)",
        event.job_name,
        event.job_id,
        event.attempts_made,
        event.max_attempts,
        event.error_type,
        event.error,
        fate,
        extra={name: getattr(event, name) for name in JobEvent.__slots__},
    )
