"""How a database's schema stands to the one this code was written for."""

from enum import StrEnum
from typing import Any, NamedTuple

import psycopg

from pgqueue.migrate import revisions

_SENTENCES = {
    "current": "the pgqueue schema is up to date, at {current}",
    "missing": "the pgqueue schema is not installed in this database; run: pgqueue migrate",
    "behind": (
        "the pgqueue schema is at {current}, this code needs {head}; run: pgqueue migrate "
        "(or alembic upgrade heads, if your application's own Alembic installed it)"
    ),
    "newer": (
        "the pgqueue schema is at {current}, and this code knows nothing newer than {head}: "
        "a newer pgqueue migrated it; upgrade pgqueue here as well"
    ),
    "foreign": (
        "the pgqueue schema was not installed by 'pgqueue migrate': it has tables, and no revision "
        "in pgqueue.alembic_version; if it belongs to your application's own Alembic, migrate it "
        "there (alembic upgrade heads)"
    ),
}


class SchemaState(StrEnum):
    """``foreign``: there are tables, and nothing that says at which revision they are."""

    CURRENT = "current"
    MISSING = "missing"
    BEHIND = "behind"
    NEWER = "newer"
    FOREIGN = "foreign"


class Status(NamedTuple):
    """The revision that the database is at, None for none, and the head of this code.

    As a string it is a sentence: what is, and what to do.
    """

    state: SchemaState
    current: str | None
    head: str

    def __str__(self) -> str:
        return _SENTENCES[self.state].format(current=self.current, head=self.head)


def find_revision(connection: psycopg.Connection[Any]) -> str | None:
    """The revision that ``pgqueue migrate`` brought the database to; None if it installed
    nothing."""
    if not _value(connection, "SELECT to_regclass('pgqueue.alembic_version') IS NOT NULL"):
        return None
    revision = _value(connection, "SELECT max(version_num) FROM pgqueue.alembic_version")
    return None if revision is None else str(revision)


def find_status(connection: psycopg.Connection[Any]) -> Status:
    """Compare the database with this code, whoever installed the schema."""
    head = revisions.head()
    current = find_revision(connection) or _stated_revision(connection)
    if current is None:
        tables = _value(connection, "SELECT to_regclass('pgqueue.jobs') IS NOT NULL")
        state = SchemaState.FOREIGN if tables else SchemaState.MISSING
    elif current == head:
        state = SchemaState.CURRENT
    else:
        state = SchemaState.BEHIND if current in revisions.known() else SchemaState.NEWER
    return Status(state, current, head)


def foreign_sentence() -> str:
    """What is to be said of a schema that ``pgqueue migrate`` did not install."""
    return _SENTENCES[SchemaState.FOREIGN]


def _stated_revision(connection: psycopg.Connection[Any]) -> str | None:
    """What the schema says of itself: the same whoever ran the migrations."""
    if not _value(connection, "SELECT to_regprocedure('pgqueue.revision()') IS NOT NULL"):
        return None
    return str(_value(connection, "SELECT pgqueue.revision()"))


def _value(connection: psycopg.Connection[Any], query: str) -> object:
    row = psycopg.Cursor(connection, row_factory=psycopg.rows.tuple_row).execute(query).fetchone()
    return None if row is None else row[0]
