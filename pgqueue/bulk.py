"""The verbs for many jobs at once: all that a :class:`JobFilter` fits and that are there now.

Each acts on the same connections as :func:`pgqueue.enqueue`, oldest job first, in statements of
five hundred; it waits for no lock, never touches a running job, and is audited job by job. In a
transaction the rows stay locked until its end: for many thousands give a connection in autocommit,
where each statement commits alone. Killed anywhere, it may simply be called again.

*limit*: touch so many at most. *actor*: who does it, for the audit; the database's user by default.
The answer is a :class:`Steered`: how many were done, were so already, are in a state that forbids
it, or were being written.
"""

from datetime import datetime
from typing import Any

from pgqueue.job_filter import JobFilter
from pgqueue.options import check_number
from pgqueue.storage import steering
from pgqueue.storage.course import Steered, Why, steer
from pgqueue.storage.drivers import run, run_async
from pgqueue.storage.operation import Operation
from pgqueue.storage.steering import Change, Survey, Verb


def survey_jobs(connection: Any, which: JobFilter) -> Survey:
    """Count the jobs that *which* fits, by state, and show the oldest; changes nothing.

    Counting stops after a hundred thousand (``at_least``).
    """
    return run(connection, steering.survey(which))


async def survey_jobs_async(connection: Any, which: JobFilter) -> Survey:
    """:func:`survey_jobs` on an asynchronous connection or session."""
    return await run_async(connection, steering.survey(which))


def cancel_jobs(
    connection: Any,
    which: JobFilter,
    *,
    limit: int | None = None,
    actor: str | None = None,
    reason: str | None = None,
) -> Steered:
    """Cancel the jobs that wait. Unlike :func:`pgqueue.cancel` it asks no running one to stop."""
    return run(connection, _steer(steering.Change(Verb.CANCEL), which, limit, actor, reason))


async def cancel_jobs_async(
    connection: Any,
    which: JobFilter,
    *,
    limit: int | None = None,
    actor: str | None = None,
    reason: str | None = None,
) -> Steered:
    """:func:`cancel_jobs` on an asynchronous connection or session."""
    change = steering.Change(Verb.CANCEL)
    return await run_async(connection, _steer(change, which, limit, actor, reason))


def run_jobs_now(
    connection: Any,
    which: JobFilter,
    *,
    limit: int | None = None,
    actor: str | None = None,
    reason: str | None = None,
) -> Steered:
    """Let the scheduled jobs run now; failures of those that are tried again still count."""
    return run(connection, _steer(steering.Change(Verb.RUN_NOW), which, limit, actor, reason))


async def run_jobs_now_async(
    connection: Any,
    which: JobFilter,
    *,
    limit: int | None = None,
    actor: str | None = None,
    reason: str | None = None,
) -> Steered:
    """:func:`run_jobs_now` on an asynchronous connection or session."""
    change = steering.Change(Verb.RUN_NOW)
    return await run_async(connection, _steer(change, which, limit, actor, reason))


def reschedule_jobs(
    connection: Any,
    which: JobFilter,
    run_at: datetime,
    *,
    limit: int | None = None,
    actor: str | None = None,
    reason: str | None = None,
) -> Steered:
    """Let the jobs that wait run at *run_at*, which has a time zone; one that has passed is now."""
    return run(connection, _steer(steering.reschedule(run_at), which, limit, actor, reason))


async def reschedule_jobs_async(
    connection: Any,
    which: JobFilter,
    run_at: datetime,
    *,
    limit: int | None = None,
    actor: str | None = None,
    reason: str | None = None,
) -> Steered:
    """:func:`reschedule_jobs` on an asynchronous connection or session."""
    change = steering.reschedule(run_at)
    return await run_async(connection, _steer(change, which, limit, actor, reason))


def reprioritise_jobs(
    connection: Any,
    which: JobFilter,
    priority: int,
    *,
    limit: int | None = None,
    actor: str | None = None,
    reason: str | None = None,
) -> Steered:
    """Give the jobs that wait another priority, 0 to 32767; lower numbers come first."""
    return run(connection, _steer(steering.reprioritise(priority), which, limit, actor, reason))


async def reprioritise_jobs_async(
    connection: Any,
    which: JobFilter,
    priority: int,
    *,
    limit: int | None = None,
    actor: str | None = None,
    reason: str | None = None,
) -> Steered:
    """:func:`reprioritise_jobs` on an asynchronous connection or session."""
    change = steering.reprioritise(priority)
    return await run_async(connection, _steer(change, which, limit, actor, reason))


def move_jobs(
    connection: Any,
    which: JobFilter,
    queue: str,
    *,
    limit: int | None = None,
    actor: str | None = None,
    reason: str | None = None,
) -> Steered:
    """Put the jobs that wait into another queue."""
    return run(connection, _steer(steering.move(queue), which, limit, actor, reason))


async def move_jobs_async(
    connection: Any,
    which: JobFilter,
    queue: str,
    *,
    limit: int | None = None,
    actor: str | None = None,
    reason: str | None = None,
) -> Steered:
    """:func:`move_jobs` on an asynchronous connection or session."""
    change = steering.move(queue)
    return await run_async(connection, _steer(change, which, limit, actor, reason))


def redrive_jobs(
    connection: Any,
    which: JobFilter,
    *,
    limit: int | None = None,
    actor: str | None = None,
    reason: str | None = None,
) -> Steered:
    """Run the dead jobs again, with all their attempts. A batch counts them as not over again."""
    return run(connection, _steer(steering.Change(Verb.REDRIVE), which, limit, actor, reason))


async def redrive_jobs_async(
    connection: Any,
    which: JobFilter,
    *,
    limit: int | None = None,
    actor: str | None = None,
    reason: str | None = None,
) -> Steered:
    """:func:`redrive_jobs` on an asynchronous connection or session."""
    change = steering.Change(Verb.REDRIVE)
    return await run_async(connection, _steer(change, which, limit, actor, reason))


def discard_jobs(
    connection: Any,
    which: JobFilter,
    *,
    reason: str,
    limit: int | None = None,
    actor: str | None = None,
) -> Steered:
    """Give up the dead jobs for good."""
    return run(connection, _steer(steering.Change(Verb.DISCARD), which, limit, actor, reason))


async def discard_jobs_async(
    connection: Any,
    which: JobFilter,
    *,
    reason: str,
    limit: int | None = None,
    actor: str | None = None,
) -> Steered:
    """:func:`discard_jobs` on an asynchronous connection or session."""
    change = steering.Change(Verb.DISCARD)
    return await run_async(connection, _steer(change, which, limit, actor, reason))


def _steer(
    change: Change, which: JobFilter, limit: int | None, actor: str | None, reason: str | None
) -> Operation[Steered]:
    check_number("limit", limit, 1, 2**63 - 1)
    return steer(change, which, Why(actor=actor, reason=reason), limit=limit)
