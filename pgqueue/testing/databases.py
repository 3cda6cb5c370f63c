"""Databases for tests: made on one server, copied from one that was migrated once, and dropped."""

from collections.abc import Callable
from itertools import count
from urllib.parse import quote
from uuid import uuid4

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from pgqueue import migrate


class Databases:
    """Makes databases on the server at *dsn*, all with names of this run, and drops them.

    *prepare* is called with the dsn of the one that the others are copied from, once: for the
    application's own tables."""

    def __init__(self, dsn: str, prepare: Callable[[str], object] | None = None) -> None:
        self.dsn = dsn
        self._prepare = prepare
        self._prefix = f"pgqueue_test_{uuid4().hex[:8]}"
        self._numbers = count(1)
        self._template: str | None = None

    def create(self, template: str = "template1") -> str:
        """Make a database; return its dsn."""
        name = f"{self._prefix}_{next(self._numbers)}"
        self._run("CREATE DATABASE {} TEMPLATE {}", name, template)
        return dsn_of(self.dsn, name)

    def create_migrated(self) -> str:
        """Make a database with the schema; return its dsn."""
        if self._template is None:
            template = self.create()
            migrate.upgrade(template)
            if self._prepare is not None:
                self._prepare(template)
            self._template = name_of(template)
        copy = self.create(self._template)
        with psycopg.connect(copy) as connection:
            connection.execute("SELECT pgqueue.adopt()")
        return copy

    def drop(self, dsn: str) -> None:
        """Drop a database, whoever is connected to it."""
        self._run("DROP DATABASE IF EXISTS {} WITH (FORCE)", name_of(dsn))

    def drop_template(self) -> None:
        """Drop what the migrated ones are copied from, if there are any."""
        if self._template is not None:
            self.drop(dsn_of(self.dsn, self._template))

    def _run(self, statement: str, *names: str) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


def dsn_of(dsn: str, database: str) -> str:
    """The libpq URI of another database on the same server."""
    parameters = {**conninfo_to_dict(dsn), "dbname": database}
    return "postgresql:///?" + "&".join(
        f"{name}={quote(str(value), safe='')}" for name, value in parameters.items()
    )


def name_of(dsn: str) -> str:
    """The name of the database that *dsn* leads to."""
    return str(conninfo_to_dict(dsn)["dbname"])
