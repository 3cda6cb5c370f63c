"""Fetch by hand: one job, in a script of yours, without a worker."""

import json
import math
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from pgqueue import failure
from pgqueue.coding.codec import Codec
from pgqueue.errors import InvalidOption, LeaseLost, UnsupportedConnection
from pgqueue.options import Seconds, check_text, milliseconds
from pgqueue.secrecy.guard import Guard
from pgqueue.signals import Cancel, Fail, Retry, Signal, Snooze
from pgqueue.storage import fetching
from pgqueue.storage.drivers import run, run_async
from pgqueue.storage.fetching import Extended, Fetched
from pgqueue.storage.operation import Operation

LEASE = 300
_SHORTEST_LEASE_MS = 1000
_LONGEST_LEASE_MS = 30 * 86_400_000
_CODEC = Codec()


class FetchedJob:
    """A job in hand. Its fields are those of a worker's :class:`Job`; *args* and *metadata* are
    decoded as plain JSON."""

    def __init__(self, connection: Any, queue: str, fetched: Fetched) -> None:
        self._connection = connection
        self._fetched = fetched
        self._result: Any = None
        self._result_text: str | None = None
        self.queue = queue
        self.id = fetched.id
        self.attempt = fetched.attempt
        self.worker_id = fetched.worker_id
        self.task = fetched.task
        self.args: dict[str, Any] = json.loads(fetched.args)
        self.metadata = json.loads(fetched.metadata or "null") or {}
        self.priority = fetched.priority
        self.actor = fetched.actor
        self.run = fetched.run
        self.max_attempts = fetched.max_attempts
        self.created_at = fetched.created_at
        self.scheduled_for = fetched.scheduled_for
        self.batch_id = fetched.batch_id

    @property
    def result(self) -> Any:
        """What the job came to, kept in its history. Setting it raises :class:`InvalidPayload` for
        what cannot be stored exactly, or has more than 1 MiB."""
        return self._result

    @result.setter
    def result(self, value: Any) -> None:
        text = None if value is None else _CODEC.dumps(value, what="result")
        self._result_text = text and Guard().redact(text, "result")
        self._result = value

    def extend(self, lease: Seconds = LEASE) -> None:
        """Have the lease run from now on. Raises :class:`LeaseLost` if the job was taken back
        meanwhile, and :class:`Cancel` if somebody wants it cancelled: let it leave the block."""
        operation = fetching.extend(self._fetched, lease_ms=_lease_ms(lease))
        self._heed(run(self._connection, operation))

    async def extend_async(self, lease: Seconds = LEASE) -> None:
        """:meth:`extend` of a job from :func:`fetch_async`."""
        operation = fetching.extend(self._fetched, lease_ms=_lease_ms(lease))
        self._heed(await run_async(self._connection, operation))

    def _heed(self, extended: Extended) -> None:
        if extended.cancel_requested:
            raise Cancel("cancelled while it ran")
        if not extended.goes_on:
            raise LeaseLost(self.id, self.attempt)

    def __str__(self) -> str:
        return f"{self.task}[{self.id}]"


@contextmanager
def fetch(
    connection: Any, queue: str, *, lease: Seconds = LEASE, tasks: Sequence[str] | None = None
) -> Iterator[FetchedJob | None]:
    """Lease the next job of *queue* for the block; ``None`` if there is none.

    *connection* is what :func:`pgqueue.enqueue` takes. Nothing is committed or rolled back:

    - On an autocommit connection the job is yours for *lease* (5 minutes; ``job.extend()`` renews
      it), then it is rescued and run again.
    - In a transaction claim, work and finish are one: they commit together, or none of them
      happened. The row's lock is the lease, and lasts as long as the transaction. Should you commit
      inside the block, the lease protects the job from there on.

    The block's end finishes the job: ``succeeded`` with ``job.result``; an exception fails it (it
    is tried again with the default backoff, until ``max_attempts``) and is raised; in a transaction
    that then rolls back nothing happened. ``Snooze``, ``Retry``, ``Fail`` and ``Cancel`` do what
    they do in a worker, and end there. What is no error (KeyboardInterrupt) gives the job back
    uncharged.

    Raises :class:`LeaseLost` at the block's end if the job was taken back meanwhile: roll back what
    you did for it. Some worker must run, of whatever queue: it makes delayed jobs available and
    rescues. *tasks*: only jobs of these.
    """
    fetched = run(connection, _fetching(queue, lease, tasks))
    if fetched is None:
        yield None
        return
    job = FetchedJob(connection, queue, fetched)
    try:
        yield job
    except BaseException as error:
        accepted = None
        try:
            accepted = run(connection, _conclusion(fetched, error))
        except Exception as second:  # noqa: BLE001  the first error is the one to be raised
            _note(error, second)
        if accepted is None or not isinstance(error, Signal):
            raise
    else:
        accepted = run(connection, _success(job))
    if not accepted:
        raise LeaseLost(job.id, job.attempt)


@asynccontextmanager
async def fetch_async(
    connection: Any, queue: str, *, lease: Seconds = LEASE, tasks: Sequence[str] | None = None
) -> AsyncIterator[FetchedJob | None]:
    """:func:`fetch` on an asynchronous connection or session."""
    fetched = await run_async(connection, _fetching(queue, lease, tasks))
    if fetched is None:
        yield None
        return
    job = FetchedJob(connection, queue, fetched)
    try:
        yield job
    except BaseException as error:
        accepted = None
        try:
            accepted = await run_async(connection, _conclusion(fetched, error))
        except Exception as second:  # noqa: BLE001  the first error is the one to be raised
            _note(error, second)
        if accepted is None or not isinstance(error, Signal):
            raise
    else:
        accepted = await run_async(connection, _success(job))
    if not accepted:
        raise LeaseLost(job.id, job.attempt)


def _fetching(queue: str, lease: Seconds, tasks: Sequence[str] | None) -> Operation[Fetched | None]:
    check_text("queue", queue or "", 100)
    if isinstance(tasks, str) or (tasks is not None and not tasks):
        raise InvalidOption("tasks", f"must be a list of names, not {tasks!r:.80}")
    return fetching.fetch(queue=queue, lease_ms=_lease_ms(lease), tasks=tasks)


def _success(job: FetchedJob) -> Operation[bool]:
    return fetching.finish(job._fetched, "succeeded", result=job._result_text)


def _conclusion(job: Fetched, error: BaseException) -> Operation[bool]:
    """Return the finish of an attempt whose block was left by *error*, as a worker judges it."""
    if isinstance(error, Snooze):
        return fetching.finish(job, "snoozed", delay_ms=_ms(error.delay))
    if isinstance(error, Cancel):
        return fetching.finish(job, "cancelled", error=failure.text_of(error) or None)
    if isinstance(error, Fail):
        return fetching.finish(job, "dead", failure=failure.describe(error))
    if not isinstance(error, Exception):
        return fetching.finish(job, "released", error=type(error).__name__)
    after = error.after if isinstance(error, Retry) else None
    delay_ms = None if after is None else _ms(after)
    return fetching.finish(job, "failed", delay_ms=delay_ms, failure=failure.describe(error))


def _note(error: BaseException, second: Exception) -> None:
    """Say that the end was not written, unless that is what a failed transaction means."""
    if not isinstance(second, UnsupportedConnection):
        error.add_note(f"pgqueue could not record the end of the job: {second}")


def _lease_ms(lease: Seconds) -> int:
    lease_ms = milliseconds(lease, "lease")
    if not _SHORTEST_LEASE_MS <= lease_ms <= _LONGEST_LEASE_MS:
        raise InvalidOption("lease", f"must be from 1 second to 30 days, not {lease!r}")
    return lease_ms


def _ms(seconds: float) -> int:
    return math.ceil(seconds * 1000)
