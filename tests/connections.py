"""The six kinds of connection an application may enqueue on, behind one face, for tests that hold
for all of them."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import psycopg
from sqlalchemy import Engine, create_engine
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from pgqueue import (
    Enqueued,
    NewJob,
    enqueue,
    enqueue_async,
    enqueue_many,
    enqueue_many_async,
)
from tests.postgres import url_of

Rows = list[tuple[Any, ...]]


class Application:
    """What an application does with its connection, sync or async, through either library."""

    def __init__(
        self, connection: Any, execute: Callable[[str], Any], runner: asyncio.Runner | None
    ) -> None:
        self.connection = connection
        self._execute = execute
        self._runner = runner

    def enqueue(self, job: NewJob, **options: Any) -> Enqueued:
        function: Any = enqueue_async if self._runner else enqueue
        return self.do(function(self.connection, job, **options))  # type: ignore[no-any-return]

    def enqueue_many(self, jobs: Sequence[NewJob], **options: Any) -> list[Enqueued]:
        function: Any = enqueue_many_async if self._runner else enqueue_many
        return self.do(function(self.connection, jobs, **options))  # type: ignore[no-any-return]

    def execute(self, sql: str) -> Rows:
        return [tuple(row) for row in self.do(self._execute(sql))]

    def commit(self) -> None:
        self.do(self.connection.commit())

    def rollback(self) -> None:
        self.do(self.connection.rollback())

    def do(self, value: Any) -> Any:
        """The value itself, or what an awaitable comes to."""
        return self._runner.run(_await(value)) if self._runner else value


async def _await(value: Any) -> Any:
    return await value


Kind = Callable[..., AbstractContextManager[Application]]
"""Opens an application's connection to a DSN; ``autocommit=True`` gives one that commits each
statement."""


@contextmanager
def psycopg_connection(dsn: str, *, autocommit: bool = False, **how: Any) -> Iterator[Application]:
    connection = psycopg.connect(dsn, autocommit=autocommit, **how)
    try:
        yield Application(connection, lambda sql: _rows_of(connection, sql), None)
    finally:
        connection.close()


@contextmanager
def psycopg_async_connection(
    dsn: str, *, autocommit: bool = False, **how: Any
) -> Iterator[Application]:
    with asyncio.Runner() as runner:
        connection = runner.run(psycopg.AsyncConnection.connect(dsn, autocommit=autocommit, **how))
        try:
            yield Application(connection, lambda sql: _rows_of_async(connection, sql), runner)
        finally:
            runner.run(connection.close())


@contextmanager
def alchemy_connection(dsn: str, *, autocommit: bool = False, **how: Any) -> Iterator[Application]:
    with _engine(dsn, autocommit, **how) as engine, engine.connect() as connection:
        yield Application(connection, lambda sql: _alchemy_rows(connection, sql), None)


@contextmanager
def alchemy_session(dsn: str, *, autocommit: bool = False, **how: Any) -> Iterator[Application]:
    with _engine(dsn, autocommit, **how) as engine, Session(engine) as session:
        yield Application(session, lambda sql: _alchemy_rows(session, sql), None)


@contextmanager
def alchemy_async_connection(
    dsn: str, *, autocommit: bool = False, **how: Any
) -> Iterator[Application]:
    with asyncio.Runner() as runner, _async_engine(dsn, runner, autocommit, **how) as engine:
        connection = engine.connect()
        runner.run(_await(connection))
        try:
            yield Application(
                connection, lambda sql: connection.run_sync(_alchemy_rows, sql), runner
            )
        finally:
            runner.run(connection.close())


@contextmanager
def alchemy_async_session(
    dsn: str, *, autocommit: bool = False, **how: Any
) -> Iterator[Application]:
    with asyncio.Runner() as runner, _async_engine(dsn, runner, autocommit, **how) as engine:
        session = AsyncSession(engine)
        try:
            yield Application(session, lambda sql: session.run_sync(_alchemy_rows, sql), runner)
        finally:
            runner.run(session.close())


KINDS: dict[str, Kind] = {
    "psycopg Connection": psycopg_connection,
    "psycopg AsyncConnection": psycopg_async_connection,
    "SQLAlchemy Connection": alchemy_connection,
    "SQLAlchemy Session": alchemy_session,
    "SQLAlchemy AsyncConnection": alchemy_async_connection,
    "SQLAlchemy AsyncSession": alchemy_async_session,
}


def driver_of(application: Application) -> Any:
    """The psycopg connection below, whatever is above it."""
    connection = application.connection
    if isinstance(connection, (psycopg.Connection, psycopg.AsyncConnection)):
        return connection
    if hasattr(connection, "run_sync"):
        return application.do(connection.run_sync(_driver_of))
    return _driver_of(connection)


def _driver_of(alchemy: Any) -> Any:
    connection = alchemy.connection() if isinstance(alchemy, Session) else alchemy
    return connection.connection.driver_connection


def _rows_of(connection: psycopg.Connection[Any], sql: str) -> Rows:
    cursor = connection.execute(sql)
    return cursor.fetchall() if cursor.description else []


async def _rows_of_async(connection: psycopg.AsyncConnection[Any], sql: str) -> Rows:
    cursor = await connection.execute(sql)
    return await cursor.fetchall() if cursor.description else []


def _alchemy_rows(alchemy: Any, sql: str) -> Rows:
    connection = alchemy.connection() if isinstance(alchemy, Session) else alchemy
    result = connection.exec_driver_sql(sql)
    return [tuple(row) for row in result] if result.returns_rows else []


@contextmanager
def _engine(dsn: str, autocommit: bool, **how: Any) -> Iterator[Engine]:
    engine = create_engine(url_of(dsn), poolclass=NullPool, **_isolated(autocommit), **how)
    yield engine
    engine.dispose()


@contextmanager
def _async_engine(
    dsn: str, runner: asyncio.Runner, autocommit: bool, **how: Any
) -> Iterator[AsyncEngine]:
    engine = create_async_engine(url_of(dsn), poolclass=NullPool, **_isolated(autocommit), **how)
    yield engine
    runner.run(engine.dispose())


def _isolated(autocommit: bool) -> dict[str, Any]:
    return {"isolation_level": "AUTOCOMMIT"} if autocommit else {}
