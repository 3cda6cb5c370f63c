"""One attempt: call the handler, and make an outcome of whatever happens. Knows no database."""

import random
import time
from collections.abc import Iterator
from typing import Any

from pgqueue import failure
from pgqueue.context import Context, Why, enter
from pgqueue.errors import LeaseLost, Unauthorized, UndecodablePayload, UnknownOutcome
from pgqueue.job import Job, Reason
from pgqueue.outcome import (
    Cancelled,
    Died,
    Lost,
    Outcome,
    Released,
    Retried,
    Snoozed,
    Succeeded,
)
from pgqueue.policy import Again
from pgqueue.signals import Cancel, Fail, Snooze
from pgqueue.tasks import Task
from pgqueue.worker.clock import boottime

AnyTask = Task[Any, Any]

CONFLICT_PAUSES = (0.1, 0.3, 0.6)
"""A serialization failure or a deadlock says nothing against the job: its handler is called again
within the attempt, so many times, up to so many seconds after each."""


class AttemptTimeout(Exception):
    """An attempt took longer than its timeout."""


def run(task: AnyTask, context: Context) -> Outcome:
    """Run a plain function's attempt, in this thread or process, to its outcome."""
    started = boottime()
    enter(context)
    arguments = decode(task, context.job, started)
    if not isinstance(arguments, dict):
        return arguments
    context.secrets = task.safety.secrets_of(context.job)
    positional = (context,) if task.signature.takes_context else ()
    pauses = iter(CONFLICT_PAUSES)
    while True:
        try:
            value = task.function(*positional, **arguments)
        except BaseException as error:  # noqa: BLE001  whatever a handler raises is its outcome
            pause = pause_before_repeat(error, context, pauses)
            if pause is None:
                return conclude(task, context.job, error, started, context.stop.why)
            time.sleep(pause)
        else:
            return succeed(task, context.job, value, started)


def pause_before_repeat(
    error: BaseException, context: Context, pauses: Iterator[float]
) -> float | None:
    """Return after how many seconds the handler that raised *error* is to be called again within
    its attempt; ``None``: it is not. *pauses*: what is left of them."""
    if context.cancelled or context.outcome is not None or not failure.is_conflict(error):
        return None
    longest = next(pauses, None)
    return None if longest is None else random.uniform(0, longest)


def decode(task: AnyTask, job: Job, started: float) -> dict[str, Any] | Died:
    """Return the handler's arguments, or the outcome of a job whose arguments cannot be read."""
    try:
        return task.decode(job.args, job_id=job.id, task=job.task)
    except UndecodablePayload as error:
        return Died(job, started, boottime(), failure.describe(error), Reason.UNDECODABLE)


def succeed(task: AnyTask, job: Job, value: Any, started: float) -> Outcome:
    """Return the outcome of a handler that returned *value*; one that cannot be stored is a
    failure."""
    ended = boottime()
    if value is None:
        return Succeeded(job, started, ended, None)
    try:
        return Succeeded(job, started, ended, task.encode_result(job, value))
    except Exception as error:  # noqa: BLE001  a result can hold anything
        return conclude(task, job, error, started)


def conclude(
    task: AnyTask, job: Job, error: BaseException, started: float, why: Why | None = None
) -> Outcome:
    """Return the outcome of a handler that raised *error*. *why*: what it had been told to end for.

    A handler that ends itself because its worker stops has not decided anything about its job.
    An error that cannot be judged fails the attempt like any other.
    """
    try:
        return _judge(task, job, error, started, why)
    except Exception as broken:  # noqa: BLE001  such as a Snooze whose subclass has no delay
        return fail(task, job, broken, started)


def _judge(
    task: AnyTask, job: Job, error: BaseException, started: float, why: Why | None
) -> Outcome:
    ended = boottime()
    if isinstance(error, Cancel) and why not in (None, Why.CANCELLED):
        return stopped(job, why, started)
    if isinstance(error, Snooze):
        return Snoozed(job, started, ended, error.delay)
    if isinstance(error, Cancel):
        said = task.safety.stored_text(job, failure.text_of(error) or None, "error")
        return Cancelled(job, started, ended, said)
    if isinstance(error, LeaseLost):
        return Lost(job, started, ended)
    return fail(task, job, error, started)


def fail(task: AnyTask, job: Job, error: BaseException, started: float) -> Retried | Died:
    """Return the outcome of an attempt that failed with *error*: again, or never again."""
    ended = boottime()
    described = task.safety.stored_failure(job, failure.describe(error))
    if isinstance(error, Fail):
        return Died(job, started, ended, described, Reason.NON_RETRYABLE)
    if isinstance(error, Unauthorized):
        return Died(job, started, ended, described, Reason.UNAUTHORIZED)
    if isinstance(error, UnknownOutcome):
        return Died(job, started, ended, described, Reason.UNKNOWN_OUTCOME)
    decision = task.policy.decide(error, failures=job.failures, max_attempts=job.max_attempts)
    if isinstance(decision, Again):
        return Retried(job, started, ended, described, decision.delay)
    return Died(job, started, ended, described, decision.reason)


def time_out(task: AnyTask, job: Job, started: float) -> Retried | Died:
    """Return the outcome of an attempt that exceeded its timeout."""
    ended = boottime()
    error = AttemptTimeout(f"took longer than its timeout of {job.timeout:g} s")
    described = failure.plain("Timeout", str(error))
    decision = task.policy.decide(error, failures=job.failures, max_attempts=job.max_attempts)
    if isinstance(decision, Again):
        return Retried(job, started, ended, described, decision.delay, timed_out=True)
    reason = Reason.TIMEOUT if decision.reason is Reason.ATTEMPTS_EXHAUSTED else decision.reason
    return Died(job, started, ended, described, reason, timed_out=True)


def stopped(job: Job, why: Why, started: float) -> Outcome:
    """Return the outcome of an attempt that was ended early."""
    ended = boottime()
    if why is Why.CANCELLED:
        return Cancelled(job, started, ended, why.value)
    if why is Why.LOST:
        return Lost(job, started, ended)
    return Released(job, started, ended, why.value)
