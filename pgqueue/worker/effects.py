"""Writes down what running jobs do outside, on a connection of its own, while they wait for it."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any

from pgqueue.effects import Answer, Entry, Word
from pgqueue.job import Job
from pgqueue.storage.effects import enter
from pgqueue.storage.operation import Operation
from pgqueue.storage.sqlstate import Remedy, remedy
from pgqueue.worker.session import Session

PATIENCE = 60.0
"""Seconds that a handler waits for the database to have it in writing."""
_SLACK = 5.0

Run = Callable[[Callable[[], Operation[Answer]]], Coroutine[Any, Any, Answer]]
"""Runs the operation that it makes, again and again if need be."""


class Effects:
    """The registrar of a worker: asked from its event loop, any other loop, and any thread."""

    def __init__(self, run: Run, *, worker_id: str) -> None:
        self._run = run
        self._worker_id = worker_id
        self._loop = asyncio.get_running_loop()
        self._writing: set[asyncio.Task[Answer]] = set()
        self._closed = False

    def ask(self, job: Job, entry: Entry) -> Answer:
        """See :class:`Registrar`. Whoever has no answer does not begin, and has it withdrawn; what
        is done is written down all the same. Raises :class:`TimeoutError`."""
        try:
            return self._begin(job, entry).result(PATIENCE + _SLACK)
        except TimeoutError:
            self._withdraw(job, entry)
            raise

    async def ask_async(self, job: Job, entry: Entry) -> Answer:
        """The same on any event loop, also for whoever is cancelled meanwhile."""
        writing = asyncio.wrap_future(self._begin(job, entry))
        writing.add_done_callback(_look_away)
        try:
            return await asyncio.shield(writing)
        except (TimeoutError, asyncio.CancelledError):
            self._withdraw(job, entry)
            raise

    async def close(self, patience: float) -> None:
        """Take nothing more, and give what is being written so many seconds."""
        self._closed = True
        if self._writing:
            await asyncio.wait(self._writing, timeout=max(0.0, patience))
        for writing in self._writing:
            writing.cancel()

    def _begin(self, job: Job, entry: Entry) -> "Future[Answer]":
        if self._closed:
            raise ConnectionError("ctx.once(): the worker has stopped")
        return asyncio.run_coroutine_threadsafe(self._write(job, entry), self._loop)

    def _withdraw(self, job: Job, entry: Entry) -> None:
        if entry.word in (Word.BEGIN, Word.ANEW) and not self._closed:
            self._begin(job, entry.withdrawn)

    async def _write(self, job: Job, entry: Entry) -> Answer:
        writing = asyncio.ensure_future(
            self._run(lambda: enter(job, entry, worker_id=self._worker_id))
        )
        self._writing.add(writing)
        writing.add_done_callback(self._writing.discard)
        return await writing


def on_session(session: Session) -> Run:
    """Run on *session*, one after the other, through outages. It is opened when first needed."""
    turn = asyncio.Lock()

    async def run(make: Callable[[], Operation[Answer]]) -> Answer:
        try:
            async with asyncio.timeout(PATIENCE), turn:
                while True:
                    try:
                        await session.open()
                        return await session.run(make())
                    except Exception as error:
                        if remedy(error) not in (Remedy.RECONNECT, Remedy.REPREPARE):
                            raise
                        await session.recover(error)
        except TimeoutError:
            raise TimeoutError(
                f"ctx.once(): the database did not answer within {PATIENCE:g} s"
            ) from None

    return run


def _look_away(writing: "asyncio.Future[Answer]") -> None:
    """Take note of its error, if nobody waits for it any more."""
    if not writing.cancelled():
        writing.exception()
