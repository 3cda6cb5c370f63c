"""The handler's transaction: its work and its job's completion commit together, or not at all."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg
from psycopg.errors import InsufficientPrivilege

from pgqueue.context import Context
from pgqueue.errors import LeaseLost, OtherDatabase, PgqueueError, UnsupportedConnection
from pgqueue.failpoints import reach
from pgqueue.failure import is_conflict
from pgqueue.outcome import Committed, Succeeded, Undecided
from pgqueue.storage import finishing, jobs, noting, schema
from pgqueue.storage.drivers import is_autocommit, is_autocommit_async, run, run_async
from pgqueue.storage.operation import Operation
from pgqueue.tasks import Tasks, TransactionFactory
from pgqueue.worker import attempt
from pgqueue.worker.clock import boottime
from pgqueue.worker.notes import Notes

log = logging.getLogger("pgqueue.worker")

_SNAPSHOT_LEVELS = ("repeatable read", "serializable")
_IDLE_SLACK = timedelta(seconds=30)
_TRIES = 3
"""A renewal that has the job's row just now makes locking it fail: nothing has happened yet, so it
is tried again at once, without costing the job an attempt."""


class Transactions:
    """Opens handlers' transactions on what ``Tasks(transaction=…)`` gives."""

    def __init__(
        self,
        tasks: Tasks,
        factory: TransactionFactory,
        *,
        worker_id: str,
        home: schema.Identity,
        notes: Notes,
    ) -> None:
        self.tasks = tasks
        self.factory = factory
        self.worker_id = worker_id
        self.home = home
        self.notes = notes
        self.checked = False
        """Whether the factory was seen to lead to the worker's own database."""

    def __call__(self, context: Context) -> "HandlerTransaction":
        return HandlerTransaction(self, context)


class HandlerTransaction:
    """One job's transaction: ``with`` or ``async with``, as the factory's connections want it.

    At READ COMMITTED the fenced finish is its last statement. Above that the job's row is locked by
    its first: a renewal during the handler would make the finish fail on every try, and the lock
    then is the lease.
    """

    def __init__(self, transactions: Transactions, context: Context) -> None:
        self._all = transactions
        self._context = context
        self._started = boottime()
        self._manager: Any = None

    def __enter__(self) -> Any:
        if not self._all.checked:
            with self._open("with") as connection:
                self._require_home(run(connection, schema.identity()))
                _quietly(lambda: connection.rollback())
        for tries_left in reversed(range(_TRIES)):
            self._manager = self._open("with")
            connection = self._manager.__enter__()
            try:
                _require_transaction(connection, is_autocommit(connection))
                if run(connection, jobs.show_isolation()) in _SNAPSHOT_LEVELS:
                    self._require_owned(run(connection, self._lock()))
                break
            except BaseException as error:
                self._undo(connection, error)
                if not (tries_left and is_conflict(error)):
                    raise
        self._context.connection = connection
        return connection

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        connection = self._context.connection
        self._context.connection = None
        if error is not None:
            self._undo(connection, error)
            return
        try:
            _flush(connection)
            succeeded = self._succeed()
            with finishing_allowed():
                self._require_owned(run(connection, self._finish(succeeded)))
            self._commit(connection.commit, succeeded)
        except BaseException as problem:
            self._undo(connection, problem)
            raise
        _quietly(lambda: self._manager.__exit__(None, None, None))

    async def __aenter__(self) -> Any:
        if not self._all.checked:
            async with self._open("async with") as connection:
                self._require_home(await run_async(connection, schema.identity()))
                await _quietly_async(lambda: connection.rollback())
        for tries_left in reversed(range(_TRIES)):
            self._manager = self._open("async with")
            connection = await self._manager.__aenter__()
            try:
                _require_transaction(connection, await is_autocommit_async(connection))
                if await run_async(connection, jobs.show_isolation()) in _SNAPSHOT_LEVELS:
                    self._require_owned(await run_async(connection, self._lock()))
                break
            except BaseException as error:
                await self._undo_async(connection, error)
                if not (tries_left and is_conflict(error)):
                    raise
        self._context.connection = connection
        return connection

    async def __aexit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        connection = self._context.connection
        self._context.connection = None
        if error is not None:
            await self._undo_async(connection, error)
            return
        try:
            if hasattr(connection, "flush"):
                await connection.flush()
            succeeded = self._succeed()
            with finishing_allowed():
                self._require_owned(await run_async(connection, self._finish(succeeded)))
            await self._commit_async(connection.commit, succeeded)
        except BaseException as problem:
            await self._undo_async(connection, problem)
            raise
        await _quietly_async(lambda: self._manager.__aexit__(None, None, None))

    def _open(self, statement: str) -> Any:
        """Return what the factory gives, if this *statement* (with, or async with) can enter it."""
        manager = self._all.factory()
        if not hasattr(manager, "__enter__" if statement == "with" else "__aenter__"):
            raise PgqueueError(
                f"Tasks(transaction=…) gives a {type(manager).__qualname__}, which the "
                f"`{statement}` of task {self._context.task!r} cannot enter: an async def wants "
                "asynchronous connections or sessions, a plain def synchronous ones"
            )
        return manager

    def _undo(self, connection: Any, error: BaseException) -> None:
        """Roll back, and have the factory hear of *error*: one whose exit commits must not."""
        self._reopen_stop()
        _quietly(lambda: connection.rollback())
        _quietly(lambda: self._manager.__exit__(type(error), error, error.__traceback__))

    async def _undo_async(self, connection: Any, error: BaseException) -> None:
        self._reopen_stop()
        try:
            await _quietly_async(lambda: connection.rollback())
        finally:
            await _quietly_async(
                lambda: self._manager.__aexit__(type(error), error, error.__traceback__)
            )

    def _reopen_stop(self) -> None:
        """Unless the COMMIT was sent, it is not too late yet to stop the attempt."""
        if self._context.outcome is None:
            self._context.stop.closed = False

    def _lock(self) -> Operation[bool]:
        job = self._context.job
        idle = timedelta(seconds=job.timeout or 3600) + _IDLE_SLACK
        return jobs.lock_running(worker_id=self._all.worker_id, job=job, idle_limit=idle)

    def _succeed(self) -> Succeeded:
        """Make the outcome; from here on it is too late to stop the attempt."""
        job, value = self._context.job, self._context.result
        result = None
        if value is not None:
            result = self._all.tasks[job.task].encode_result(job, value)
        self._context.stop.closed = True
        return Succeeded(job, self._started, boottime(), result)

    def _finish(self, succeeded: Succeeded) -> Operation[bool]:
        """Finish the job, after its last log lines: once it is gone the pump's come too late."""
        lines = self._all.notes.last_lines(self._context.job)
        if lines is not None:
            yield from noting.write([lines], worker_id=self._all.worker_id, moment=boottime())
        accepted = yield from finishing.finish(
            [succeeded], worker_id=self._all.worker_id, moment=boottime()
        )
        return bool(accepted)

    def _commit(self, commit: Callable[[], None], succeeded: Succeeded) -> None:
        reach("before commit")
        try:
            commit()
        except BaseException as error:
            self._note_commit_error(error)
            raise
        reach("after commit")
        self._context.outcome = Committed(*succeeded[:3])

    async def _commit_async(self, commit: Callable[[], Any], succeeded: Succeeded) -> None:
        reach("before commit")
        try:
            await commit()
        except BaseException as error:
            self._note_commit_error(error)
            raise
        reach("after commit")
        self._context.outcome = Committed(*succeeded[:3])

    def _note_commit_error(self, error: BaseException) -> None:
        """An answer of the server's is a no; no answer leaves open what became of the COMMIT."""
        if answered(error):
            return
        job = self._context.job
        otherwise = attempt.fail(self._all.tasks[job.task], job, error, self._started)
        self._context.outcome = Undecided(job, self._started, boottime(), otherwise)

    def _require_home(self, found: schema.Identity) -> None:
        if found != self._all.home:
            raise OtherDatabase()
        self._all.checked = True

    def _require_owned(self, owned: bool) -> None:
        if not owned:
            raise LeaseLost(self._context.id, self._context.attempt)


@contextmanager
def finishing_allowed() -> Iterator[None]:
    """Say it in one sentence when the handler's role may not finish jobs."""
    try:
        yield
    except Exception as error:
        cause = getattr(error, "orig", error)
        if isinstance(cause, InsufficientPrivilege):
            raise PgqueueError(
                "the role of the handler's connection may not finish its job: make it a member of "
                f"the worker role (GRANT pgqueue_worker TO ...): {cause.diag.message_primary}"
            ) from error
        raise


def answered(error: BaseException) -> bool:
    """Whether the COMMIT was refused; class 08 and 57 are the connection going
    away."""
    driver_error = getattr(error, "orig", error)
    if not isinstance(driver_error, psycopg.Error):
        return False
    if isinstance(driver_error, psycopg.ProgrammingError):
        return True  # perhaps psycopg's own: a factory that commits by itself may not be asked to
    return driver_error.sqlstate is not None and driver_error.sqlstate[:2] not in ("08", "57")


def _require_transaction(connection: Any, autocommit: bool) -> None:
    if autocommit:
        raise UnsupportedConnection(
            connection,
            "it commits each statement by itself, so the work and the job's completion could not "
            "commit together; give one without autocommit",
        )


def _flush(connection: Any) -> None:
    if hasattr(connection, "flush"):
        connection.flush()


def _quietly(action: Callable[[], Any]) -> None:
    """Clean up after an error that matters more."""
    try:
        action()
    except Exception as error:  # noqa: BLE001  the transaction is over, one way or the other
        _mention(error)


async def _quietly_async(action: Callable[[], Any]) -> None:
    try:
        await action()
    except Exception as error:  # noqa: BLE001  the transaction is over, one way or the other
        _mention(error)


def _mention(error: Exception) -> None:
    """A connection that broke has been spoken of, whichever library says so; what else goes wrong
    at the end of the application's own connection has not."""
    if isinstance(getattr(error, "orig", error), (psycopg.Error, OSError, PgqueueError)):
        log.debug("while closing a handler's transaction: %s", error)
    else:
        log.warning("while closing a handler's transaction", exc_info=error)
