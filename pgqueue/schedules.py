"""Schedules that an application makes, in its own transactions: one for each customer, say.

Those that belong to the code are declared beside their task, with :meth:`Tasks.cron`. All act in
the caller's transaction, on the same connections as :func:`pgqueue.enqueue`, and are audited.
"""

from typing import Any

from pgqueue.errors import InvalidOption, ScheduleNotFound
from pgqueue.options import NewJob
from pgqueue.storage import schedules
from pgqueue.storage.drivers import run, run_async
from pgqueue.storage.operation import Operation
from pgqueue.timetable.schedule import NewSchedule


def schedule(
    connection: Any,
    name: str,
    job: NewJob,
    *,
    cron: str | None = None,
    actor: str | None = None,
    **timing: Any,
) -> str:
    """Make or change the schedule *name*: ``"created"``, ``"changed"`` or ``"unchanged"``.

    Each tick enqueues *job*, made by ``task.job(...)``. *cron* or ``every=`` says when; *timing*
    are the other fields of :class:`NewSchedule`. A worker finds the first tick within a second of
    the commit; ticks count from now on. *actor*: who did it, for the audit; the actor of *job* is
    on whose behalf the jobs run, ``cron:<name>`` by default.

    Raises :class:`InvalidOption` for what can never be due, and for the name of a schedule that was
    not made by an application.
    """
    return run(connection, _save(NewSchedule(name=name, job=job, cron=cron, **timing), actor))


async def schedule_async(
    connection: Any,
    name: str,
    job: NewJob,
    *,
    cron: str | None = None,
    actor: str | None = None,
    **timing: Any,
) -> str:
    """:func:`schedule` on an asynchronous connection or session."""
    wanted = NewSchedule(name=name, job=job, cron=cron, **timing)
    return await run_async(connection, _save(wanted, actor))


def unschedule(
    connection: Any, name: str, *, actor: str | None = None, reason: str | None = None
) -> str:
    """Remove a schedule: ``"removed"`` or ``"unknown"``. The jobs it made are left alone."""
    return run(connection, schedules.remove(name, actor=actor, reason=reason))


async def unschedule_async(
    connection: Any, name: str, *, actor: str | None = None, reason: str | None = None
) -> str:
    """:func:`unschedule` on an asynchronous connection or session."""
    return await run_async(connection, schedules.remove(name, actor=actor, reason=reason))


def enable_schedule(
    connection: Any, name: str, *, actor: str | None = None, reason: str | None = None
) -> str:
    """Have a schedule tick again, from now on: ``"enabled"`` or ``"unknown"``."""
    return run(connection, schedules.enable(name, actor=actor, reason=reason))


async def enable_schedule_async(
    connection: Any, name: str, *, actor: str | None = None, reason: str | None = None
) -> str:
    """:func:`enable_schedule` on an asynchronous connection or session."""
    return await run_async(connection, schedules.enable(name, actor=actor, reason=reason))


def disable_schedule(
    connection: Any, name: str, *, actor: str | None = None, reason: str | None = None
) -> str:
    """Have a schedule make no more jobs: ``"disabled"`` or ``"unknown"``. No deployment enables it
    again."""
    return run(connection, schedules.disable(name, actor=actor, reason=reason))


async def disable_schedule_async(
    connection: Any, name: str, *, actor: str | None = None, reason: str | None = None
) -> str:
    """:func:`disable_schedule` on an asynchronous connection or session."""
    return await run_async(connection, schedules.disable(name, actor=actor, reason=reason))


def run_schedule_now(
    connection: Any, name: str, *, actor: str | None = None, reason: str | None = None
) -> int:
    """Enqueue a schedule's job now, whatever runs; return the job's id. The next tick stays.

    Raises :class:`ScheduleNotFound`.
    """
    return run(connection, _run_now(name, actor, reason))


async def run_schedule_now_async(
    connection: Any, name: str, *, actor: str | None = None, reason: str | None = None
) -> int:
    """:func:`run_schedule_now` on an asynchronous connection or session."""
    return await run_async(connection, _run_now(name, actor, reason))


def _save(wanted: NewSchedule, actor: str | None) -> Operation[str]:
    saved = yield from schedules.save(wanted, actor=actor)
    if saved.answer == "taken":
        owner = {"code": "declared in code", "sql": "made by hand"}[saved.changes["source"][0]]
        raise InvalidOption("name", f"schedule {wanted.name!r} is {owner}; choose another name")
    return saved.answer


def _run_now(name: str, actor: str | None, reason: str | None) -> Operation[int]:
    job_id = yield from schedules.run_now(name, actor=actor, reason=reason)
    if job_id is None:
        raise ScheduleNotFound(name)
    return job_id
