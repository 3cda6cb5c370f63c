"""Writes down what running jobs do outside, on a connection of its own, while they wait for it."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future

from pgqueue.effects import Answer, Entry, Word
from pgqueue.job import Job
from pgqueue.storage.effects import enter
from pgqueue.storage.operation import Operation
from pgqueue.storage.sqlstate import Remedy, remedy
from pgqueue.worker.session import Session

PATIENCE = 60.0
"""Seconds that a handler waits for the database to have it in writing."""
_SLACK = 5.0

Run = Callable[[Callable[[], Operation[Answer]]], Awaitable[Answer]]
"""Runs the operation that it makes, again and again if need be."""


class Effects:
    """The registrar of a worker: asked from its event loop, any other loop, and any thread."""

    def __init__(self, run: Run, *, worker_id: str) -> None:
        self._run = run
        self._worker_id = worker_id
        self._loop = asyncio.get_running_loop()

    def ask(self, job: Job, entry: Entry) -> Answer:
        """See :class:`Registrar`. Raises :class:`TimeoutError`."""
        return self._begin(job, entry).result(PATIENCE + _SLACK)

    async def ask_async(self, job: Job, entry: Entry) -> Answer:
        """See :class:`Registrar`. Whoever is cancelled meanwhile does not begin, and has it
        withdrawn; what is done is written down all the same."""
        writing = asyncio.wrap_future(self._begin(job, entry))
        writing.add_done_callback(_look_away)
        try:
            return await asyncio.shield(writing)
        except asyncio.CancelledError:
            if entry.word in (Word.BEGIN, Word.ANEW):
                self._begin(job, entry.withdrawn)
            raise

    def _begin(self, job: Job, entry: Entry) -> "Future[Answer]":
        return asyncio.run_coroutine_threadsafe(self._write(job, entry), self._loop)

    async def _write(self, job: Job, entry: Entry) -> Answer:
        return await self._run(lambda: enter(job, entry, worker_id=self._worker_id))


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
