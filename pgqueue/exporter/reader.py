"""Reads the database on one connection that comes back, never for longer than a scrape lasts."""

import asyncio
from typing import Any

import psycopg
from psycopg import AsyncConnection, IsolationLevel

from pgqueue.storage import measuring, schema
from pgqueue.storage.connect import connect_async
from pgqueue.storage.drivers import run_async

DEADLINE = 5.0
"""Seconds that a reading may take, connecting included: half of what Prometheus waits for a scrape
by default. The server is told to give up a second sooner."""

_BOUND = (
    "SELECT set_config('statement_timeout', '4s', true), set_config('lock_timeout', '1s', true)"
)


class Reader:
    """Measures the database at *dsn*. One reading at a time."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection: AsyncConnection[Any] | None = None

    async def read(self) -> measuring.Measures:
        """Measure, all of it at one moment. Raises what kept it from that, TimeoutError for a
        database that does not answer; then the next reading connects anew."""
        try:
            async with asyncio.timeout(DEADLINE) as deadline:
                return await self._read()
        except BaseException as error:
            self.close()
            if isinstance(error, TimeoutError) and deadline.expired():
                said = f"the database did not answer within {DEADLINE:g} seconds"
                raise TimeoutError(said) from None
            raise

    def close(self) -> None:
        """Close the connection, without waiting for an answer."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.pgconn.finish()

    async def _read(self) -> measuring.Measures:
        connection = self._connection
        if connection is not None and not connection.closed:
            try:
                return await self._measure(connection)
            except psycopg.Error:
                if not connection.closed:
                    raise
                # It was closed while nobody used it: that says nothing about the database now.
        connection = self._connection = await connect_async(self._dsn, "exporter")
        await run_async(connection, schema.require_schema())
        await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
        await connection.set_read_only(True)
        return await self._measure(connection)

    async def _measure(self, connection: AsyncConnection[Any]) -> measuring.Measures:
        # A transaction of each reading's own, so that it works through a transaction pooler too.
        async with connection.transaction():
            await connection.execute(_BOUND)
            return await run_async(connection, measuring.measure())
