"""Every way for an application to hand its transactions to a worker: ``Tasks(transaction=…)``."""

import importlib.util
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, NamedTuple

import psycopg
from psycopg import AsyncConnection, IsolationLevel
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import sessionmaker
from sqlalchemy.pool import NullPool

from tests.postgres import url_of

Factory = Callable[[], Any]
"""What ``Tasks(transaction=…)`` takes."""

READ_COMMITTED = IsolationLevel.READ_COMMITTED
REPEATABLE_READ = IsolationLevel.REPEATABLE_READ
SERIALIZABLE = IsolationLevel.SERIALIZABLE


class Way(NamedTuple):
    """A kind of connection or session that a handler may work on."""

    name: str
    is_async: bool
    open: Callable[[str, IsolationLevel], AbstractAsyncContextManager[Factory]]

    def __str__(self) -> str:
        return self.name


async def execute(connection: Any, sql: str) -> Any:
    """Execute on an async connection or session of either library."""
    asks = sql if isinstance(connection, AsyncConnection) else text(sql)
    return await connection.execute(asks)


def execute_sync(connection: Any, sql: str) -> Any:
    """Execute on a sync connection or session of either library."""
    return connection.execute(sql if isinstance(connection, psycopg.Connection) else text(sql))


@asynccontextmanager
async def psycopg_connections(dsn: str, level: IsolationLevel) -> AsyncIterator[Factory]:
    def connect() -> psycopg.Connection[Any]:
        connection = psycopg.connect(dsn)
        connection.isolation_level = level
        return connection

    yield connect


@asynccontextmanager
async def psycopg_async_connections(dsn: str, level: IsolationLevel) -> AsyncIterator[Factory]:
    @asynccontextmanager
    async def connect() -> AsyncIterator[AsyncConnection[Any]]:
        async with await AsyncConnection.connect(dsn) as connection:
            await connection.set_isolation_level(level)
            yield connection

    yield connect


@asynccontextmanager
async def psycopg_pool(dsn: str, level: IsolationLevel) -> AsyncIterator[Factory]:
    from psycopg_pool import ConnectionPool

    def configure(connection: psycopg.Connection[Any]) -> None:
        connection.isolation_level = level

    with ConnectionPool(dsn, min_size=1, configure=configure) as pool:
        yield pool.connection


@asynccontextmanager
async def psycopg_async_pool(dsn: str, level: IsolationLevel) -> AsyncIterator[Factory]:
    from psycopg_pool import AsyncConnectionPool

    async def configure(connection: AsyncConnection[Any]) -> None:
        await connection.set_isolation_level(level)

    async with AsyncConnectionPool(dsn, min_size=1, configure=configure) as pool:
        yield pool.connection


@asynccontextmanager
async def alchemy_connections(dsn: str, level: IsolationLevel) -> AsyncIterator[Factory]:
    engine = create_engine(url_of(dsn), poolclass=NullPool, isolation_level=_name(level))
    yield engine.connect
    engine.dispose()


@asynccontextmanager
async def alchemy_sessions(dsn: str, level: IsolationLevel) -> AsyncIterator[Factory]:
    engine = create_engine(url_of(dsn), poolclass=NullPool, isolation_level=_name(level))
    yield sessionmaker(engine)
    engine.dispose()


@asynccontextmanager
async def alchemy_async_connections(dsn: str, level: IsolationLevel) -> AsyncIterator[Factory]:
    engine = create_async_engine(url_of(dsn), poolclass=NullPool, isolation_level=_name(level))
    yield engine.connect
    await engine.dispose()


@asynccontextmanager
async def alchemy_async_sessions(dsn: str, level: IsolationLevel) -> AsyncIterator[Factory]:
    engine = create_async_engine(url_of(dsn), poolclass=NullPool, isolation_level=_name(level))
    yield async_sessionmaker(engine)
    await engine.dispose()


def _name(level: IsolationLevel) -> Any:
    return level.name.replace("_", " ")


WAYS = [
    Way("psycopg-connection", False, psycopg_connections),
    Way("psycopg-async-connection", True, psycopg_async_connections),
    Way("sqlalchemy-connection", False, alchemy_connections),
    Way("sqlalchemy-session", False, alchemy_sessions),
    Way("sqlalchemy-async-connection", True, alchemy_async_connections),
    Way("sqlalchemy-async-session", True, alchemy_async_sessions),
]
if importlib.util.find_spec("psycopg_pool"):
    WAYS += [
        Way("psycopg-pool", False, psycopg_pool),
        Way("psycopg-async-pool", True, psycopg_async_pool),
    ]
