"""Look at a database in a read-only transaction that takes no longer than it may."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from psycopg import Connection

from pgqueue.storage.connect import SESSION, is_pooled
from pgqueue.storage.drivers import run
from pgqueue.storage.operation import query


@contextmanager
def looking(connection: Connection[Any], patience: timedelta) -> Iterator[None]:
    """A transaction that reads only; each statement in it is given up after *patience*, with
    :class:`psycopg.errors.QueryCanceled`. For a connection of our own that is in none."""
    with connection.transaction():
        if is_pooled(connection):
            connection.execute(SESSION, {"local": True})
        run(connection, query("bound_look", patience_ms=round(patience.total_seconds() * 1000)))
        yield
