"""What a wait yields. The stories are written once, as generators that yield ``None`` where they
need news; looping with ``for`` or ``async for`` differs only in how that is waited for."""

from collections.abc import AsyncIterator, Generator, Iterator, Mapping
from typing import Any, Generic, Self, TypeVar

from pgqueue.errors import BatchNotFound, BatchTimeout, JobGone, WaitInsideTransaction, WaitTimeout
from pgqueue.storage.batches import BatchStatus
from pgqueue.storage.enqueueing import Enqueued
from pgqueue.storage.waiting import BatchReading, Reading
from pgqueue.tasks import Tasks
from pgqueue.waiter.inbox import Inbox
from pgqueue.waiter.lookout import AnyInbox, Lookout
from pgqueue.waiter.status import Finished, JobStatus, finished_of, status_of

T = TypeVar("T")

Story = Generator[T | None, None, None]
Jobs = Mapping[int, Any]
"""The ids, and what each was given as: an id, or an :class:`Enqueued`."""


class Answers(Generic[T]):
    """What becomes of jobs or a batch, to be looped over once, with ``for`` or ``async for``."""

    def __init__(self, lookout: Lookout, inbox: AnyInbox, story: Story[T]) -> None:
        self._lookout = lookout
        self._inbox = inbox
        self._story = story
        self._is_watched = False

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if not self._is_watched:
            self._inbox.be_woken()
            self._watch()
        for answer in self._story:
            if answer is not None:
                return answer
            self._inbox.wait()
        raise StopIteration

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        if not self._is_watched:
            self._inbox.be_woken_async()
            self._watch()
        for answer in self._story:
            if answer is not None:
                return answer
            await self._inbox.wait_async()
        raise StopAsyncIteration

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Stop watching, before the end."""
        self._inbox.closed = True
        self._story.close()

    def _watch(self) -> None:
        self._is_watched = True
        if self._inbox.pending:
            self._lookout.watch(self._inbox)


def completions(inbox: Inbox[Reading], jobs: Jobs, tasks: Tasks | None) -> Story[Finished]:
    """Yield each job as it is over. Those that were never seen are gone when time is up."""
    seen: dict[int, Reading | None] = {}
    open_ids = set(jobs)
    try:
        while open_ids:
            news = inbox.take()
            if news is None:
                if not inbox.is_late():
                    yield None
                    continue
                unseen = {job_id for job_id in open_ids if seen.get(job_id, _UNREAD) is None}
                for job_id in sorted(unseen):
                    yield Finished(job_id, error=JobGone(job_id, state=None))
                if open_ids - unseen:
                    raise _timeout(open_ids - unseen, seen)
                return
            job_id, reading = news
            if reading is None:
                gone = _absent(jobs[job_id], job_id, seen)
                if gone is not None:
                    open_ids.discard(job_id)
                    yield Finished(job_id, error=gone)
            elif reading.is_over:
                open_ids.discard(job_id)
                yield finished_of(reading, tasks)
            seen[job_id] = reading
    finally:
        inbox.closed = True


def changes(inbox: Inbox[Reading], job_id: int, job: Any, tasks: Tasks | None) -> Story[JobStatus]:
    """Yield the job as it is, and whenever that has changed, until it is over."""
    seen: dict[int, Reading | None] = {}
    try:
        while True:
            news = inbox.take()
            if news is None:
                if inbox.is_late():
                    if seen.get(job_id, _UNREAD) is None:
                        raise JobGone(job_id, state=None)
                    raise _timeout({job_id}, seen)
                yield None
                continue
            _, reading = news
            if reading is None:
                gone = _absent(job, job_id, seen)
                if gone is not None:
                    raise gone
            else:
                yield status_of(reading, tasks)
                if reading.is_over:
                    return
            seen[job_id] = reading
    finally:
        inbox.closed = True


def completion(inbox: Inbox[BatchReading], batch_id: int) -> Story[BatchStatus]:
    """Yield the batch once nothing is left to run in it."""
    seen: BatchReading | None = None
    try:
        while True:
            news = inbox.take()
            if news is None:
                if not inbox.is_late():
                    yield None
                    continue
                if seen is None:
                    raise BatchNotFound(batch_id)
                raise BatchTimeout(seen.status)
            _, reading = news
            if reading is None and seen is not None:
                raise BatchNotFound(batch_id)
            if reading is not None and reading.is_over:
                yield reading.status
                return
            seen = reading
    finally:
        inbox.closed = True


_UNREAD: Any = object()


def _absent(job: Any, job_id: int, seen: Mapping[int, Reading | None]) -> JobGone | None:
    """Judge a job that is in no table: gone if it was there, else it may still be committed."""
    before = seen.get(job_id)
    if before is not None:
        return JobGone(job_id, state=before.state)
    if isinstance(job, Enqueued) and job.is_in_transaction:
        raise WaitInsideTransaction(job_id)
    return None


def _timeout(ids: set[int], seen: Mapping[int, Reading | None]) -> WaitTimeout:
    readings = {job_id: seen.get(job_id) for job_id in sorted(ids)}
    return WaitTimeout({n: None if r is None else r.state for n, r in readings.items()})
