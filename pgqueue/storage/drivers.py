"""Run an operation on whatever connection the caller holds.

Never commits, never rolls back, never opens a connection, and never uses
``connection.transaction()``: on a connection whose transaction has not begun that would begin and
commit one of its own, under the feet of a Session.
"""

import sys
from typing import Any, Final, TypeVar

from psycopg import AsyncConnection, AsyncCursor, Connection, Cursor, postgres
from psycopg.adapt import AdaptersMap
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from pgqueue.errors import UnsupportedConnection
from pgqueue.storage.operation import Operation, Row, Statement

T = TypeVar("T")

_ACCEPTED = (
    "give a psycopg Connection, or a SQLAlchemy Connection or Session on the psycopg driver; "
    "with any other driver call the SQL function pgqueue.enqueue() in your transaction"
)
_ACCEPTED_ASYNC = (
    "give a psycopg AsyncConnection, or a SQLAlchemy AsyncConnection or AsyncSession on the "
    "psycopg driver; with any other driver call the SQL function pgqueue.enqueue()"
)
# A statement that does something is not to be declared as a cursor, whatever the caller's are.
_NO_STREAM: Final = {"stream_results": False, "yield_per": None}
_FAILED = "its transaction has failed; roll back (to a savepoint, at least) and try again"

Classes = tuple[tuple[str, str], ...]
"""Classes by module and name: of libraries that the application may not even have."""

_SESSIONS: Classes = (("sqlalchemy.orm", "Session"), ("sqlalchemy.orm", "scoped_session"))
_SYNC: Classes = (("sqlalchemy", "Connection"), *_SESSIONS)
_ASYNC: Classes = (
    ("sqlalchemy.ext.asyncio", "AsyncConnection"),
    ("sqlalchemy.ext.asyncio", "AsyncSession"),
    ("sqlalchemy.ext.asyncio", "async_scoped_session"),
)
_TWO_PHASE: Classes = (("sqlalchemy", "TwoPhaseTransaction"),)
_SCOPED: Classes = (_SESSIONS[1], _ASYNC[2])
_SOURCES: Classes = (
    ("sqlalchemy", "Engine"),
    ("sqlalchemy.orm", "sessionmaker"),
    ("sqlalchemy.ext.asyncio", "AsyncEngine"),
    ("sqlalchemy.ext.asyncio", "async_sessionmaker"),
    ("psycopg_pool", "ConnectionPool"),
    ("psycopg_pool", "AsyncConnectionPool"),
)


def run(connection: Any, operation: Operation[T], bind_arguments: Any = None) -> T:
    """Run *operation* on a psycopg or SQLAlchemy sync connection, inside its transaction.

    Raises :class:`UnsupportedConnection` for anything else, or if its transaction is unusable.
    """
    if isinstance(connection, Connection):
        _require_usable(connection, connection)
        cursor: _PsycopgCursor | _AlchemyCursor = _PsycopgCursor(connection)
    else:
        alchemy = _sqlalchemy_connection(connection, bind_arguments)
        if alchemy is None:
            raise UnsupportedConnection(connection, _advice(connection, "run", _ACCEPTED))
        cursor = _AlchemyCursor(alchemy)
    try:
        return _drive(cursor, operation)
    except UnicodeEncodeError as error:
        _require_encodable(connection, error)
        raise


async def run_async(connection: Any, operation: Operation[T], bind_arguments: Any = None) -> T:
    """Run *operation* on a psycopg or SQLAlchemy async connection, inside its transaction.

    Raises :class:`UnsupportedConnection` for anything else, or if its transaction is unusable.
    """
    if isinstance(connection, AsyncConnection):
        _require_usable(connection, connection)
        try:
            return await _drive_async(connection, operation)
        except UnicodeEncodeError as error:
            _require_encodable(connection, error)
            raise
    if _is_any(connection, _ASYNC):
        result: T = await unscoped(connection).run_sync(run, operation, bind_arguments)
        return result
    raise UnsupportedConnection(connection, _advice(connection, "run_async", _ACCEPTED_ASYNC))


def is_two_phase(connection: Any) -> bool:
    """Whether its transaction is to be PREPAREd, which Postgres refuses after a NOTIFY. Begins
    nothing."""
    if isinstance(connection, (Connection, AsyncConnection)):
        # No public attribute tells it. One without this is taken for what nearly all are.
        return getattr(connection, "_tpc", None) is not None
    given = unscoped(connection)
    if _is_any(given, _ASYNC):
        given = given.sync_session if hasattr(given, "sync_session") else given.sync_connection
    if _is_any(given, _SESSIONS):
        if given.twophase:
            return True
        given = given.bind  # a connection, if it was made on one
    return _is_any(given, _SYNC[:1]) and _is_any(given.get_transaction(), _TWO_PHASE)


def driver_of(connection: Any, bind_arguments: Any = None) -> Any:
    """Return the psycopg connection below *connection*, on which an operation has just run."""
    if isinstance(connection, (Connection, AsyncConnection)):
        return connection
    return _driver_connection(_sqlalchemy_connection(connection, bind_arguments))


async def driver_of_async(connection: Any, bind_arguments: Any = None) -> Any:
    """:func:`driver_of` of an asynchronous connection or session."""
    if isinstance(connection, AsyncConnection):
        return connection
    return await unscoped(connection).run_sync(driver_of, bind_arguments)


def is_autocommit(connection: Any) -> bool:
    """Whether each statement on this sync connection or session commits by itself."""
    return bool(_driver_of(connection, None).autocommit)


async def is_autocommit_async(connection: Any) -> bool:
    """Whether each statement on this async connection or session commits by itself."""
    if isinstance(connection, AsyncConnection):
        return bool(connection.autocommit)
    if not hasattr(connection, "run_sync"):
        raise UnsupportedConnection(connection, _advice(connection, "run_async", _ACCEPTED_ASYNC))
    return bool(await connection.run_sync(is_autocommit))


def require_transaction(connection: Any, bind_arguments: Any = None) -> None:
    """Refuse a sync connection on which each statement would commit by itself, for what takes
    several and is to be whole. One in autocommit may be in a transaction all the same."""
    _require_transaction(connection, _driver_of(connection, bind_arguments))


async def require_transaction_async(connection: Any, bind_arguments: Any = None) -> None:
    """:func:`require_transaction` for an async connection or session."""
    if isinstance(connection, AsyncConnection):
        _require_usable(connection, connection)
        _require_transaction(connection, connection)
    elif _is_any(connection, _ASYNC):
        await unscoped(connection).run_sync(require_transaction, bind_arguments)
    else:
        raise UnsupportedConnection(connection, _advice(connection, "run_async", _ACCEPTED_ASYNC))


def _require_transaction(given: Any, driver: Any) -> None:
    if driver.autocommit and driver.info.transaction_status == TransactionStatus.IDLE:
        raise UnsupportedConnection(
            given,
            "each statement on it commits by itself, and this takes several that must be one; "
            "open a transaction first, or give one without autocommit",
        )


# psycopg's own: what the application taught its connections to make of lists and numbers is for the
# application.
_ADAPTERS: Final = AdaptersMap(types=postgres.types)
postgres.register_default_adapters(_ADAPTERS)


class _OwnCursor(Cursor[Row]):
    adapters = property(lambda self: _ADAPTERS)


class _OwnAsyncCursor(AsyncCursor[Row]):
    adapters = property(lambda self: _ADAPTERS)


class _PsycopgCursor:
    """Executes on a cursor of our own making: the caller's row and cursor factories are theirs."""

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection

    def execute(self, statement: Statement) -> list[Row]:
        return _OwnCursor(self._connection, row_factory=tuple_row).execute(*statement).fetchall()


class _AlchemyCursor:
    """Executes through SQLAlchemy, so that the transaction begins and logs as the caller expects;
    on a cursor of our own making all the same."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def execute(self, statement: Statement) -> list[Row]:
        driver = _driver_connection(self._connection)
        theirs = driver.cursor_factory
        own = _OwnAsyncCursor if isinstance(driver, AsyncConnection) else _OwnCursor
        try:
            driver.cursor_factory = own
            result = self._connection.exec_driver_sql(
                statement.sql, dict(statement.params), execution_options=_NO_STREAM
            )
        finally:
            driver.cursor_factory = theirs
        return [tuple(row) for row in result]


def _drive(cursor: "_PsycopgCursor | _AlchemyCursor", operation: Operation[T]) -> T:
    try:
        statement = next(operation)
        while True:
            try:
                rows = cursor.execute(statement)
            except BaseException as error:  # noqa: BLE001  the operation's to judge
                statement = operation.throw(error)
            else:
                statement = operation.send(rows)
    except StopIteration as stop:
        result: T = stop.value
        return result


async def _drive_async(connection: AsyncConnection[Any], operation: Operation[T]) -> T:
    try:
        statement = next(operation)
        while True:
            try:
                cursor = _OwnAsyncCursor(connection, row_factory=tuple_row)
                await cursor.execute(*statement)
                rows = await cursor.fetchall()
            except BaseException as error:  # noqa: BLE001  the operation's to judge
                statement = operation.throw(error)
            else:
                statement = operation.send(rows)
    except StopIteration as stop:
        result: T = stop.value
        return result


def _sqlalchemy_connection(given: Any, bind_arguments: Any) -> Any:
    """Return the SQLAlchemy Connection behind *given*, or None if it is neither one nor a
    Session."""
    sqlalchemy = sys.modules.get("sqlalchemy")
    if sqlalchemy is None:
        return None
    if _is_any(given, _SESSIONS):
        try:
            given = given.connection(bind_arguments=bind_arguments)
        except sqlalchemy.exc.PendingRollbackError as error:
            raise UnsupportedConnection(given, _FAILED) from error
    if not isinstance(given, sqlalchemy.Connection):
        return None
    if (given.dialect.name, given.dialect.driver) not in (
        ("postgresql", "psycopg"),
        ("postgresql", "psycopg_async"),
    ):
        raise UnsupportedConnection(
            given, f"its driver is {given.dialect.name}+{given.dialect.driver}; {_ACCEPTED}"
        )
    _require_usable(given, _driver_connection(given))
    return given


def _driver_of(connection: Any, bind_arguments: Any) -> Any:
    """Return the psycopg connection below a sync connection or session."""
    if isinstance(connection, Connection):
        _require_usable(connection, connection)
        return connection
    alchemy = _sqlalchemy_connection(connection, bind_arguments)
    if alchemy is None:
        raise UnsupportedConnection(connection, _advice(connection, "run", _ACCEPTED))
    return _driver_connection(alchemy)


def _driver_connection(connection: Any) -> Any:
    if connection.closed:
        return None
    if connection.invalidated and connection.in_transaction():
        raise UnsupportedConnection(connection, _FAILED)
    return connection.connection.driver_connection


def _require_usable(given: Any, driver: Any) -> None:
    """Refuse a closed connection and a failed transaction before they confuse anybody."""
    if driver is None or driver.closed:
        raise UnsupportedConnection(given, "it is closed; open a new one")
    if driver.pgconn.transaction_status == TransactionStatus.INERROR:
        raise UnsupportedConnection(given, _FAILED)


def _require_encodable(given: Any, error: UnicodeEncodeError) -> None:
    """Say which encoding it is that cannot hold what was to be sent."""
    if error.encoding != "utf-8":  # half a surrogate pair is not the connection's fault
        raise UnsupportedConnection(
            given,
            f"its client_encoding ({error.encoding}) has no character for what is to be stored; "
            "SET client_encoding = 'UTF8'",
        ) from error


def _advice(given: Any, function: str, accepted: str) -> str:
    if _is_any(given, _SOURCES):
        return (
            "a job belongs into a transaction, and this has none; take a connection or a session "
            "from it and give that"
        )
    if function == "run" and (isinstance(given, AsyncConnection) or _is_any(given, _ASYNC)):
        return "it is asynchronous; use the function whose name ends in _async"
    if function == "run_async" and (isinstance(given, Connection) or _is_any(given, _SYNC)):
        return "it is synchronous; use the function whose name does not end in _async"
    return accepted


def unscoped(given: Any) -> Any:
    """The session of this thread or task, behind a scoped_session."""
    return given() if _is_any(given, _SCOPED) else given


def _is_any(given: Any, classes: Classes) -> bool:
    """Whether *given* is of one of these classes. What nobody imported, nothing is an instance
    of."""
    return any(
        isinstance(given, getattr(sys.modules[module], name))
        for module, name in classes
        if module in sys.modules
    )
