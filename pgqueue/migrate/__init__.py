"""Brings the ``pgqueue`` schema of a database to a revision, and says which one it is at.

Any number of processes may migrate at once; one that is killed half-way leaves nothing behind.
A *dsn* is what psycopg takes: a libpq URI or ``host=... dbname=...``.
"""

from typing import TYPE_CHECKING, Any

import psycopg

from pgqueue.migrate import revisions
from pgqueue.migrate.errors import MigrationBlocked, MigrationError
from pgqueue.migrate.revisions import head, location
from pgqueue.migrate.status import (
    SchemaState,
    Status,
    find_revision,
    find_status,
    foreign_sentence,
)
from pgqueue.migrate.turn import LOCK, SETTINGS, take_turn
from pgqueue.storage import tls

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = [
    "MigrationBlocked",
    "MigrationError",
    "SchemaState",
    "Status",
    "check",
    "current",
    "downgrade",
    "downgrade_target",
    "head",
    "location",
    "offline_sql",
    "upgrade",
]

PATIENCE = 60.0  # seconds


def upgrade(dsn: str, to: str = "head", *, patience: float = PATIENCE) -> str:
    """Install the schema, or bring it up to the revision *to*; return the revision it is at.

    Everything happens in one transaction. Another process that migrates at the same time, and
    transactions that hold what the migration needs, are waited for, *patience* seconds in short
    steps that let other people's statements through; then MigrationBlocked.
    """

    def change(raw: psycopg.Connection[Any], connection: "Connection") -> str:
        _refuse_what_is_not_ours(raw)
        _create_schema(raw)
        revisions.upgrade(connection, to)
        return str(find_revision(raw))

    return take_turn(dsn, change, patience)


def downgrade(dsn: str, to: str, *, patience: float = PATIENCE) -> str | None:
    """Take the schema back to the revision *to*; ``base`` removes it, with every job in it.

    Returns the revision it is at then, None if it is gone. Waits like upgrade().
    """

    def change(raw: psycopg.Connection[Any], connection: "Connection") -> str | None:
        if _refuse_what_is_not_ours(raw).state is SchemaState.MISSING:
            return None
        revisions.downgrade(connection, to)
        reached = find_revision(raw)
        if reached is None:
            raw.execute("DROP TABLE pgqueue.alembic_version")
            raw.execute("DROP SCHEMA pgqueue")
        return reached

    return take_turn(dsn, change, patience)


def downgrade_target(dsn: str, to: str) -> str | None:
    """The revision that downgrade() would end at; None: nothing would be left of the schema."""
    current_revision = current(dsn)
    return None if current_revision is None else revisions.below(current_revision, to)


def offline_sql(to: str = "head") -> str:
    """The SQL that upgrade() runs on an empty database, or between two revisions (``A:B``)."""
    before = [
        *SETTINGS,
        f"SELECT pg_advisory_xact_lock({LOCK})",
        "CREATE SCHEMA IF NOT EXISTS pgqueue",
    ]
    return revisions.offline_upgrade(to, before)


def current(dsn: str) -> str | None:
    """The revision the database is at; None if ``pgqueue migrate`` installed nothing there."""
    with tls.connect(dsn, autocommit=True) as connection:
        return find_revision(connection)


def check(dsn: str) -> Status:
    """How the database's schema stands to this code. Changes nothing."""
    with tls.connect(dsn, autocommit=True) as connection:
        return find_status(connection)


def _refuse_what_is_not_ours(raw: psycopg.Connection[Any]) -> Status:
    status = find_status(raw)
    if status.state is not SchemaState.MISSING and find_revision(raw) is None:
        raise MigrationError(foreign_sentence())
    if status.state is SchemaState.NEWER:
        raise MigrationError(str(status))
    return status


def _create_schema(raw: psycopg.Connection[Any]) -> None:
    """Only if it is missing: who was given the schema need not be allowed to create one."""
    row = raw.execute("SELECT to_regnamespace('pgqueue') IS NULL").fetchone()
    if row is not None and row[0]:
        raw.execute("CREATE SCHEMA pgqueue")
