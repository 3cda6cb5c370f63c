"""A handler's transaction inside the test's: a savepoint, in which its job is finished too."""

from typing import Any

from pgqueue.context import Context
from pgqueue.errors import LeaseLost, PgqueueError
from pgqueue.job import Job
from pgqueue.outcome import Committed, Succeeded
from pgqueue.storage import noting
from pgqueue.storage.drivers import run, run_async
from pgqueue.storage.finishing import finish
from pgqueue.storage.operation import Operation
from pgqueue.tasks import Tasks
from pgqueue.testing.desks import AsyncDesk, AsyncSavepoint, Desk, Savepoint
from pgqueue.worker.clock import boottime
from pgqueue.worker.notes import Notes


class Joined:
    """Gives handlers the test's connection for their transactions, and remembers what they came
    to."""

    def __init__(self, desk: Desk, tasks: Tasks, notes: Notes, worker_id: str) -> None:
        self.desk = desk
        self.tasks = tasks
        self.notes = notes
        self.worker_id = worker_id
        self._succeeded: dict[int, Succeeded] = {}

    def __call__(self, context: Context) -> "JoinedTransaction":
        return JoinedTransaction(self, context)

    def note(self, succeeded: Succeeded) -> None:
        self._succeeded[succeeded.job.id] = succeeded

    def take(self, job: Job) -> Succeeded | None:
        """Return with what *job* was finished in its handler's transaction, if it was."""
        return self._succeeded.pop(job.id, None)


class JoinedTransaction:
    """``with`` or ``async with``. What a worker would commit is kept in the test's transaction,
    what it would roll back is rolled back; the job's completion is a part of it."""

    def __init__(self, joined: Joined, context: Context) -> None:
        self._joined = joined
        self._context = context
        self._started = boottime()
        self._savepoint: Any = None

    def __enter__(self) -> Any:
        if isinstance(self._joined.desk, AsyncDesk):
            raise _wrong_kind("a plain def", "drain() and a synchronous connection or session")
        self._savepoint = Savepoint(self._joined.desk.connection)
        self._savepoint.begin()
        self._context.connection = self._joined.desk.connection
        return self._context.connection

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        connection, self._context.connection = self._context.connection, None
        if error is not None:
            self._savepoint.undo()
            return
        try:
            if hasattr(connection, "flush"):
                connection.flush()
            succeeded = self._succeed()
            self._require_owned(run(connection, self._finish(succeeded)))
        except BaseException:
            self._savepoint.undo()
            raise
        self._savepoint.keep()
        self._note(succeeded)

    async def __aenter__(self) -> Any:
        if not isinstance(self._joined.desk, AsyncDesk):
            raise _wrong_kind("an async def", "drain_async() and an asynchronous one")
        self._savepoint = AsyncSavepoint(self._joined.desk.connection)
        await self._savepoint.begin()
        self._context.connection = self._joined.desk.connection
        return self._context.connection

    async def __aexit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        connection, self._context.connection = self._context.connection, None
        if error is not None:
            await self._savepoint.undo()
            return
        try:
            if hasattr(connection, "flush"):
                await connection.flush()
            succeeded = self._succeed()
            self._require_owned(await run_async(connection, self._finish(succeeded)))
        except BaseException:
            await self._savepoint.undo()
            raise
        await self._savepoint.keep()
        self._note(succeeded)

    def _succeed(self) -> Succeeded:
        job, value = self._context.job, self._context.result
        result = None
        if value is not None:
            result = self._joined.tasks[job.task].encode_result(job, value)
        return Succeeded(job, self._started, boottime(), result)

    def _finish(self, succeeded: Succeeded) -> Operation[set[int]]:
        worker_id = self._joined.worker_id
        lines = self._joined.notes.last_lines(self._context.job)
        if lines is not None:
            yield from noting.write([lines], worker_id=worker_id, moment=boottime())
        return (yield from finish([succeeded], worker_id=worker_id, moment=boottime()))

    def _require_owned(self, accepted: set[int]) -> None:
        if not accepted:
            raise LeaseLost(self._context.id, self._context.attempt)

    def _note(self, succeeded: Succeeded) -> None:
        self._context.outcome = Committed(*succeeded[:3])
        self._joined.note(succeeded)


def _wrong_kind(function: str, way: str) -> PgqueueError:
    return PgqueueError(
        f"the transaction of {function} task wants {way}: it runs in the test's own"
    )
