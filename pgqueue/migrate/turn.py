"""One migration at a time, in one transaction, that never makes others wait for long."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, LiteralString, TypeVar

import psycopg
from psycopg import IsolationLevel, errors

from pgqueue.migrate.errors import MigrationBlocked, MigrationError
from pgqueue.storage import tls

if TYPE_CHECKING:
    from sqlalchemy import Connection

Result = TypeVar("Result")

LOCK = int.from_bytes(b"pgqueue\x01", "big")  # for pg_advisory_xact_lock(bigint)
# While we wait for a table's lock, everybody else's statements on that table wait behind us: so we
# wait briefly, let them through, and come back.
LOCK_TIMEOUT = 2.0  # seconds
PAUSE = 0.2  # seconds
SETTINGS = (
    f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT:g}s'",
    "SET LOCAL statement_timeout = 0",
    "SET LOCAL idle_in_transaction_session_timeout = 0",
)
HOLDERS = """
SELECT string_agg(DISTINCT format('process %s (%s, %s since %s)', activity.pid,
    coalesce(nullif(activity.application_name, ''), activity.usename), activity.state,
    activity.xact_start::timestamptz(0)), ', ')
FROM pg_locks AS lock
JOIN pg_stat_activity AS activity USING (pid)
JOIN pg_class AS relation ON relation.oid = lock.relation
WHERE relation.relnamespace = to_regnamespace('pgqueue')
    AND lock.granted AND lock.pid <> pg_backend_pid()
"""


def take_turn(
    dsn: str, change: Callable[[psycopg.Connection[Any], Connection], Result], patience: float
) -> Result:
    """Run *change* in a transaction of its own while no other migration runs; commit.

    *change* gets one connection twice: for statements, and for Alembic. Tried for *patience*
    seconds in steps, each in a new transaction; then MigrationBlocked, with nothing changed.
    """
    from sqlalchemy import create_engine
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.pool import StaticPool

    deadline = time.monotonic() + patience
    with tls.connect(dsn, prepare_threshold=None) as raw:
        raw.isolation_level = IsolationLevel.READ_COMMITTED
        raw.read_only = False
        engine = create_engine("postgresql+psycopg://", creator=lambda: raw, poolclass=StaticPool)
        while True:
            try:
                with engine.begin() as connection:
                    if _lock(raw):
                        return change(raw, connection)
                obstacle = "another migration of this database is still running"
            except (psycopg.Error, DBAPIError) as error:
                obstacle = _obstacle(raw, error)
            if time.monotonic() >= deadline:
                raise MigrationBlocked(
                    f"not migrated, and nothing was changed, after {patience:g} s of trying: "
                    f"{obstacle}; try again when that is over"
                )
            time.sleep(PAUSE)


def _lock(raw: psycopg.Connection[Any]) -> bool:
    """Try, not wait: a waiting transaction would be an old snapshot for as long as it waits."""
    for setting in SETTINGS:
        raw.execute(setting)
    row = raw.execute("SELECT pg_try_advisory_xact_lock(%s)", [LOCK]).fetchone()
    return row is not None and bool(row[0])


def _obstacle(raw: psycopg.Connection[Any], error: Exception) -> str:
    """Who holds what the migration wanted. Any other error is raised again, as psycopg's own.

    Errors arrive bare or wrapped by SQLAlchemy, depending on who sent the statement.
    """
    cause: Exception = getattr(error, "orig", error)
    if isinstance(cause, errors.LockNotAvailable | errors.DeadlockDetected):
        return f"a table's lock is held by {_value(raw, HOLDERS) or 'another transaction'}"
    if isinstance(cause, errors.InsufficientPrivilege):
        raise MigrationError(
            f"the role {_value(raw, 'SELECT current_user')} may not migrate this database "
            f"({cause.diag.message_primary}); migrate as the owner of the schema, or the first "
            "time as a role that has CREATE on the database"
        ) from cause
    raise cause


def _value(raw: psycopg.Connection[Any], query: LiteralString) -> object:
    row = raw.execute(query).fetchone()
    raw.rollback()
    return None if row is None else row[0]
