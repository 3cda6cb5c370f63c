"""Which database, and a connection to it with the right schema on it."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg import Connection
from psycopg.conninfo import conninfo_to_dict

from pgqueue.cli.failures import Unready
from pgqueue.storage.connect import SESSION, connect, is_pooled, masked
from pgqueue.storage.drivers import run
from pgqueue.storage.operation import Operation
from pgqueue.storage.schema import require_schema

T = TypeVar("T")

_UNREADABLE = (
    "{name} cannot be read; write postgresql://user:password@host:port/database, with the special "
    "characters of user and password percent-encoded (@ is %40, / is %2F), or host=... dbname=..."
)


def find_dsn(name: str = "PGQUEUE_DSN") -> str:
    """Return the DSN in the environment variable *name*; empty: libpq's own variables decide.

    There is no option for it: a command line is readable by everybody on the machine. A DSN that
    cannot be right is never quoted: a part of it would be a part of the password.
    """
    dsn = os.environ.get(name, "")
    if dsn.startswith("postgresql+"):
        raise Unready(
            f"{name} is an SQLAlchemy URL; write postgresql://, without the driver's name"
        )
    try:
        given = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        raise Unready(_UNREADABLE.format(name=name)) from None
    ports = str(given.get("port", "")).replace(",", "")
    if (ports and not ports.isdecimal()) or _is_misread(dsn):
        raise Unready(_UNREADABLE.format(name=name))
    return dsn


def where() -> str:
    """Name the database in words that hold no secret."""
    dsn = find_dsn()
    return masked(dsn) if dsn else "PGQUEUE_DSN is not set; libpq's PG* variables and defaults"


@contextmanager
def database() -> Iterator[Connection[Any]]:
    """Connect to a database whose schema this code can work with; commit at the end, or before."""
    with connect(find_dsn(), "cli") as connection, _settled(connection):
        run(connection, require_schema())
        yield connection


@contextmanager
def _settled(connection: Connection[Any]) -> Iterator[None]:
    """Through a transaction pooler, our settings hold for as long as a transaction does."""
    if not is_pooled(connection):
        yield
        return
    with connection.transaction():
        connection.execute(SESSION, {"local": True})
        yield


Step = Callable[[Operation[Any]], Any]
"""Runs one operation in a transaction of its own, on a connection that stays."""


@contextmanager
def stepwise() -> Iterator[Step]:
    """Connect, for work in steps that commit alone, whatever happens to the next: behind a
    transaction pooler as well."""
    with connect(find_dsn(), "cli") as connection:

        def step(operation: Operation[Any]) -> Any:
            with _settled(connection):
                return run(connection, operation)

        step(require_schema())
        yield step


def perform(operation: Operation[T]) -> T:
    """Run one operation on a connection of its own."""
    with database() as connection:
        return run(connection, operation)


def _is_misread(dsn: str) -> bool:
    """Whether libpq takes a part of the password for host or database: it has a bare @ or /."""
    if not dsn.startswith(("postgresql://", "postgres://")):
        return False
    _, _, rest = dsn.partition("://")
    authority, _, path = rest.partition("/")
    return authority.count("@") > 1 or "@" in path.partition("?")[0]
