"""A connection of the worker's own that comes back: opened on demand, every wait bounded."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from psycopg import AsyncConnection, AsyncCursor

from pgqueue.storage.connect import SESSION, connect_async, is_pooled
from pgqueue.storage.drivers import run_async
from pgqueue.storage.operation import Operation, Row, Statement
from pgqueue.worker.clock import boottime
from pgqueue.worker.outage import Outage

T = TypeVar("T")

DEADLINE = 40.0
"""Seconds after which a connection that does not answer is given up. Longer than the server's own
statement_timeout, so that it strikes only when the server is out of reach."""


class Interrupted(Exception):
    """What was done while statements were under way failed, which says nothing about them."""


class Session:
    """One database connection, reopened when it breaks. For one task at a time."""

    def __init__(self, dsn: str, role: str) -> None:
        self._dsn = dsn
        self._role = role
        self._connection: AsyncConnection[Any] | None = None
        self._failures = 0
        self._outage = Outage(role)
        self.opened_at = 0.0
        """When the present connection was opened, by the boot clock."""
        self.answered_at = 0.0
        """When the last answer to an exchange was there."""

    @property
    def is_open(self) -> bool:
        return self._connection is not None and not self._connection.closed

    @property
    def is_pooled(self) -> bool:
        """Whether the connection goes through a transaction pooler."""
        return self._connection is not None and is_pooled(self._connection)

    async def open(self) -> bool:
        """Make sure there is a connection; return whether it is a new one."""
        if self.is_open:
            return False
        async with asyncio.timeout(DEADLINE):
            self._connection = await connect_async(self._dsn, self._role)
        self.opened_at = boottime()
        return True

    async def run(self, operation: Operation[T]) -> T:
        """Run *operation*, each statement its own transaction."""
        return self._well(await self._bounded(run_async(self.connection, operation)))

    async def run_together(self, statements: Sequence[Statement]) -> list[list[Row]]:
        """Run *statements* in one transaction and one round trip; return the rows of each."""
        return [await cursor.fetchall() for cursor in await self.exchange(statements)]

    async def exchange(
        self,
        statements: Sequence[Statement],
        meanwhile: Callable[[], Awaitable[object]] | None = None,
    ) -> list[AsyncCursor[Any]]:
        """Like :meth:`run_together`, but leave the rows in their cursors: to make them takes time.
        *meanwhile* is called when the statements are on their way, or cannot be sent; what it
        raises becomes :class:`Interrupted`."""
        if len(statements) == 1 and meanwhile is None and not self.is_pooled:
            return self._well(await self._bounded(self._alone(statements[0])))
        return self._well(await self._bounded(self._pipelined(statements, meanwhile)))

    @property
    def connection(self) -> AsyncConnection[Any]:
        if self._connection is None:
            raise ConnectionError("not connected")
        return self._connection

    async def close(self) -> None:
        """Close the connection, without waiting for an answer."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.pgconn.finish()

    async def recover(self, error: BaseException) -> None:
        """Close what *error* broke and sleep before the next try: 0.1 s growing to 2 s, with jitter
        so that a fleet spreads out."""
        self._outage.suffer(error)
        await self.close()
        self._failures += 1
        longest = min(2.0, 0.1 * 2 ** min(self._failures, 6))
        await asyncio.sleep(random.uniform(longest / 2, longest))

    def _well(self, answer: T) -> T:
        """The server has answered: whatever was wrong is over."""
        self._failures = 0
        self._outage.end()
        return answer

    async def _alone(self, statement: Statement) -> list[AsyncCursor[Any]]:
        """Without a pipeline: around one statement it makes an idle worker start its job later."""
        cursor = await self.connection.execute(*statement)
        self.answered_at = boottime()
        return [cursor]

    async def _pipelined(
        self,
        statements: Sequence[Statement],
        meanwhile: Callable[[], Awaitable[object]] | None,
    ) -> list[AsyncCursor[Any]]:
        connection = self.connection
        aside: asyncio.Future[None] | None = None
        try:
            # Between two Syncs of a pipeline lies one implicit transaction: it commits at the end,
            # or nothing of it happens.
            async with connection.pipeline():
                if self.is_pooled:
                    await connection.execute(SESSION, {"local": True})
                cursors = [await connection.execute(*statement) for statement in statements]
                if meanwhile is not None:  # begins when the Sync has left, and the answer is due
                    aside = asyncio.ensure_future(self._uninterrupted(meanwhile))
            self.answered_at = boottime()
        finally:
            if meanwhile is not None:
                await (aside or self._uninterrupted(meanwhile))
        return cursors

    async def _bounded(self, work: Coroutine[Any, Any, T]) -> T:
        """Await *work*; give the connection up if the server does not answer by the deadline. Not
        in a task of its own: the answer would be noticed some turns of the loop later."""
        try:
            async with asyncio.timeout(DEADLINE) as deadline:
                return await work
        except TimeoutError:
            if not deadline.expired():
                raise
            await self.close()
            raise TimeoutError(f"the database did not answer within {DEADLINE:g} seconds") from None

    async def _uninterrupted(self, meanwhile: Callable[[], Awaitable[object]]) -> None:
        try:
            await meanwhile()
        except Exception as error:
            await self.close()
            raise Interrupted("what was to be done meanwhile failed") from error
