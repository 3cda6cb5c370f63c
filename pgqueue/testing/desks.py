"""The test's own connection, sync or async, as a drain works on it: operations, and the handlers'
transactions as savepoints."""

from typing import Any, Protocol, TypeVar

from psycopg import AsyncConnection, AsyncCursor, Connection, Cursor

from pgqueue.storage.drivers import run, run_async
from pgqueue.storage.operation import Operation

T = TypeVar("T")

_BEGIN = "SAVEPOINT pgqueue_job"
_KEEP = "RELEASE SAVEPOINT pgqueue_job"
_UNDO = "ROLLBACK TO SAVEPOINT pgqueue_job"


class Desk(Protocol):
    """Runs operations on the test's connection."""

    connection: Any

    async def run(self, operation: Operation[T]) -> T: ...


class SyncDesk:
    """A psycopg ``Connection``, SQLAlchemy ``Connection`` or ``Session``."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    async def run(self, operation: Operation[T]) -> T:
        return run(self.connection, operation)


class AsyncDesk:
    """A psycopg ``AsyncConnection``, SQLAlchemy ``AsyncConnection`` or ``AsyncSession``."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    async def run(self, operation: Operation[T]) -> T:
        return await run_async(self.connection, operation)


class Savepoint:
    """A handler's transaction inside the test's. A session is told of it, so that it forgets what
    is rolled back."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._nested: Any = None

    def begin(self) -> None:
        if isinstance(self._connection, Connection):
            self._execute(_BEGIN)
        else:
            self._nested = self._connection.begin_nested()

    def keep(self) -> None:
        if self._nested is None:
            self._execute(_KEEP)
        else:
            self._nested.commit()

    def undo(self) -> None:
        if self._nested is None:
            self._execute(_UNDO)
            self._execute(_KEEP)
        elif self._nested.is_active:
            self._nested.rollback()

    def _execute(self, statement: str) -> None:
        with Cursor(self._connection) as cursor:
            cursor.execute(statement)


class AsyncSavepoint:
    """:class:`Savepoint` on an asynchronous connection or session."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._nested: Any = None

    async def begin(self) -> None:
        if isinstance(self._connection, AsyncConnection):
            await self._execute(_BEGIN)
        else:
            self._nested = await self._connection.begin_nested()

    async def keep(self) -> None:
        if self._nested is None:
            await self._execute(_KEEP)
        else:
            await self._nested.commit()

    async def undo(self) -> None:
        if self._nested is None:
            await self._execute(_UNDO)
            await self._execute(_KEEP)
        elif self._nested.is_active:
            await self._nested.rollback()

    async def _execute(self, statement: str) -> None:
        async with AsyncCursor(self._connection) as cursor:
            await cursor.execute(statement)
