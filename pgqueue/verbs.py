"""What an application does to jobs that exist: the same SQL functions that the command line calls.

Each acts in the caller's transaction, on the same connections as :func:`pgqueue.enqueue`, waits for
no lock, and is audited. The answer says what became of the job, or the state that forbids it;
``"busy"`` (its row is being written, try again) and ``"unknown"`` are answers too.
"""

from typing import Any

from pgqueue.storage import verbs
from pgqueue.storage.drivers import run, run_async


def cancel(
    connection: Any, job_id: int, *, actor: str | None = None, reason: str | None = None
) -> str:
    """Stop a job: ``"cancelled"`` if it waited; ``"requested"`` if it runs: its worker is asked.

    *actor*: who did it, for the audit; the database's user by default.
    """
    return run(connection, verbs.cancel([job_id], actor=actor, reason=reason))[0].answer


async def cancel_async(
    connection: Any, job_id: int, *, actor: str | None = None, reason: str | None = None
) -> str:
    """:func:`cancel` on an asynchronous connection or session."""
    operation = verbs.cancel([job_id], actor=actor, reason=reason)
    return (await run_async(connection, operation))[0].answer


def retry(
    connection: Any,
    job_id: int,
    *,
    args: str | None = None,
    actor: str | None = None,
    reason: str | None = None,
) -> str:
    """Run a dead job again, or a scheduled one now: ``"available"``. Its counters start anew.

    *args*: other arguments, as JSON text; ``task.job(...).args`` makes them.
    """
    operation = verbs.retry([job_id], args=args, actor=actor, reason=reason)
    return run(connection, operation)[0].answer


async def retry_async(
    connection: Any,
    job_id: int,
    *,
    args: str | None = None,
    actor: str | None = None,
    reason: str | None = None,
) -> str:
    """:func:`retry` on an asynchronous connection or session."""
    operation = verbs.retry([job_id], args=args, actor=actor, reason=reason)
    return (await run_async(connection, operation))[0].answer


def discard(connection: Any, job_id: int, *, reason: str, actor: str | None = None) -> str:
    """Give up a dead job for good: ``"discarded"``."""
    return run(connection, verbs.discard([job_id], actor=actor, reason=reason))[0].answer


async def discard_async(
    connection: Any, job_id: int, *, reason: str, actor: str | None = None
) -> str:
    """:func:`discard` on an asynchronous connection or session."""
    operation = verbs.discard([job_id], actor=actor, reason=reason)
    return (await run_async(connection, operation))[0].answer
