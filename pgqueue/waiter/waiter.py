"""Wait for jobs: the one object an application needs for it."""

import asyncio
import time
from collections.abc import Iterable
from typing import Any, Self

import psycopg
from psycopg.conninfo import conninfo_to_dict

from pgqueue.errors import InvalidOption, WaitTimeout
from pgqueue.options import Seconds, milliseconds
from pgqueue.storage.batches import Batch, BatchStatus
from pgqueue.storage.enqueueing import Enqueued
from pgqueue.storage.waiting import BatchReading, Reading
from pgqueue.tasks import Tasks
from pgqueue.waiter.answers import Answers, changes, completion, completions
from pgqueue.waiter.inbox import Inbox
from pgqueue.waiter.lookout import Lookout
from pgqueue.waiter.status import Finished, JobStatus, id_of


class Waiter:
    """Waits for jobs to be over, for a whole process: from any thread, and from any event loop.

    However many wait, there is one connection to *dsn* and about one reading a second, and one more
    when a job ends. Nothing is opened before the first wait; an outage of the database is outlived;
    a forked child opens a connection of its own. Behind a transaction pooler it looks and is not
    told, which takes up to a second; give it a direct DSN.

    A *job* is what ``enqueue`` returned, or an id. Wait after the commit: inside the transaction
    that enqueued it :class:`WaitInsideTransaction` is raised. *timeout* is in seconds (or a
    timedelta) and has no default. With *tasks* results come as the task returned them, otherwise as
    plain JSON.

    >>> with Waiter(dsn, tasks=tasks) as waiter:                        # doctest: +SKIP
    ...     result = waiter.wait(job, timeout=30)
    """

    def __init__(self, dsn: str, *, tasks: Tasks | None = None) -> None:
        try:
            conninfo_to_dict(dsn)
        except psycopg.ProgrammingError as error:
            raise InvalidOption("dsn", str(error)) from None
        self._tasks = tasks
        self._lookout = Lookout(dsn)

    def wait(self, job: int | Enqueued, *, timeout: Seconds) -> Any:
        """Return the job's result.

        Raises :class:`JobDead`, :class:`JobCancelled`, :class:`JobGone` (at once when the job was
        seen and is kept nowhere; at the end of *timeout* when it was never seen),
        :class:`WaitTimeout` (a ``TimeoutError``: the job goes on), :class:`WaitInsideTransaction`,
        :class:`UndecodablePayload`, :class:`SchemaMismatch`, and :class:`WaitFailed` when the
        database refuses.
        """
        return self.wait_many([job], timeout=timeout)[0].value()

    async def wait_async(self, job: int | Enqueued, *, timeout: Seconds) -> Any:  # noqa: ASYNC109
        """:meth:`wait` in a coroutine."""
        return (await self.wait_many_async([job], timeout=timeout))[0].value()

    def wait_many(self, jobs: Iterable[int | Enqueued], *, timeout: Seconds) -> list[Finished]:
        """Return what became of each job, in their order, when all are over.

        A job that failed is in the list with its ``error``; ``value()`` returns the result or
        raises that. Raises :class:`WaitTimeout` if some are not over in time; it has the
        ``finished`` and the ``states`` of the others.
        """
        jobs = list(jobs)
        finished: dict[int, Finished] = {}
        with self.as_completed(jobs, timeout=timeout) as answers:
            try:
                for each in answers:
                    finished[each.id] = each
            except WaitTimeout as error:
                raise WaitTimeout(error.states, _in_order(jobs, finished)) from None
        return _in_order(jobs, finished)

    async def wait_many_async(
        self,
        jobs: Iterable[int | Enqueued],
        *,
        timeout: Seconds,  # noqa: ASYNC109  the time is the lookout's affair
    ) -> list[Finished]:
        """:meth:`wait_many` in a coroutine."""
        jobs = list(jobs)
        finished: dict[int, Finished] = {}
        with self.as_completed(jobs, timeout=timeout) as answers:
            try:
                async for each in answers:
                    finished[each.id] = each
            except WaitTimeout as error:
                raise WaitTimeout(error.states, _in_order(jobs, finished)) from None
        return _in_order(jobs, finished)

    def as_completed(
        self, jobs: Iterable[int | Enqueued], *, timeout: Seconds
    ) -> Answers[Finished]:
        """Loop over the jobs as they end, with ``for`` or ``async for``; each job once.

        After *timeout* those that were never seen come with a :class:`JobGone`, and if others are
        not over :class:`WaitTimeout` is raised.
        """
        by_id = {id_of(job): job for job in jobs}
        inbox = Inbox(Reading, by_id, _deadline(timeout))
        return Answers(self._lookout, inbox, completions(inbox, by_id, self._tasks))

    def watch(self, job: int | Enqueued, *, timeout: Seconds) -> Answers[JobStatus]:
        """Loop over the states and the progress of a job until it is over, with ``for`` or
        ``async for``: as it is now, and whenever that has changed (looked at every second).

        The last one has its result, or its error: neither is raised. Raises :class:`JobGone`,
        :class:`WaitTimeout` and the rest like :meth:`wait`.
        """
        job_id = id_of(job)
        inbox = Inbox(Reading, [job_id], _deadline(timeout))
        return Answers(self._lookout, inbox, changes(inbox, job_id, job, self._tasks))

    def wait_batch(self, batch: int | Batch, *, timeout: Seconds) -> BatchStatus:
        """Return how the batch stands once nothing is left to run in it, well or not.

        Its callbacks are enqueued within a second after that. Raises :class:`BatchTimeout` (a
        ``TimeoutError``) with how it stands, :class:`BatchNotFound` when time is up and no such
        batch was ever committed, and the rest like :meth:`wait`.
        """
        with self._batch(batch, timeout) as answers:
            return next(answers)

    async def wait_batch_async(
        self,
        batch: int | Batch,
        *,
        timeout: Seconds,  # noqa: ASYNC109  the time is the lookout's affair
    ) -> BatchStatus:
        """:meth:`wait_batch` in a coroutine."""
        with self._batch(batch, timeout) as answers:
            return await anext(answers)

    def close(self) -> None:
        """Disconnect. Whoever still waits gets :class:`WaitFailed`."""
        self._lookout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.close)

    def _batch(self, batch: int | Batch, timeout: Seconds) -> Answers[BatchStatus]:
        batch_id = batch.id if isinstance(batch, (Batch, BatchStatus)) else batch
        if isinstance(batch_id, bool) or not isinstance(batch_id, int) or batch_id < 1:
            raise InvalidOption(
                "batch", f"must be a batch's id, or what enqueue_batch() returned, not {batch!r}"
            )
        inbox = Inbox(BatchReading, [batch_id], _deadline(timeout))
        return Answers(self._lookout, inbox, completion(inbox, batch_id))


def _deadline(timeout: Seconds) -> float:
    if milliseconds(timeout, "timeout") == 0:
        raise InvalidOption("timeout", "must be longer than nothing; find_status() only looks")
    return time.monotonic() + milliseconds(timeout, "timeout") / 1000


def _in_order(jobs: Iterable[int | Enqueued], finished: dict[int, Finished]) -> list[Finished]:
    return [finished[job_id] for job in jobs if (job_id := id_of(job)) in finished]
