"""What goes wrong, in one sentence that says what to do, and the exit code it gets.

All of it is in this file: no command catches errors to word them itself.
"""

import click
import psycopg
from psycopg import errors

from pgqueue.embedded.errors import EmbeddedPostgresError
from pgqueue.errors import (
    ForeignDatabase,
    InvalidOption,
    InvalidPayload,
    PgqueueError,
    SchemaMismatch,
)
from pgqueue.migrate.errors import MigrationError
from pgqueue.worker.loading import TasksNotFound

REFUSED = 1
USAGE = 2
SETUP = 3
INTERRUPTED = 130
PIPE_CLOSED = 141

_OF_PGQUEUE: dict[type[PgqueueError], int] = {
    InvalidOption: USAGE,
    InvalidPayload: USAGE,
    EmbeddedPostgresError: SETUP,
    ForeignDatabase: SETUP,
    MigrationError: SETUP,
    SchemaMismatch: SETUP,
    TasksNotFound: SETUP,
}

_START = (
    "is it running? Say where with PGQUEUE_DSN or libpq's PG* variables; "
    "for a database to play with run: pgqueue dev"
)
_AGAIN = "try again in a moment"
_WHO = "check the user and password in PGQUEUE_DSN, in the PG* variables, or in ~/.pgpass"

# What libpq says when there is no connection (there is no SQLSTATE then), and what to do.
_UNCONNECTED = {
    "password authentication failed": _WHO,
    "no password supplied": _WHO,
    'role "': "name another user in PGQUEUE_DSN or PGUSER",
    'database "': "create it with createdb, or name another one in PGQUEUE_DSN or PGDATABASE",
    "pg_hba.conf": "the server does not admit this user from here this way: ask who runs it",
    "definition of service": "define it in ~/.pg_service.conf, or set PGQUEUE_DSN",
    "starting up": _AGAIN,
    "shutting down": _AGAIN,
    "too many clients": _AGAIN,
    "connection slots": _AGAIN,
    "closed the connection": _AGAIN,
}

_SCHEMA = (
    errors.UndefinedTable,
    errors.UndefinedColumn,
    errors.UndefinedFunction,
    errors.InvalidSchemaName,
)
# Not the statement's fault: connection, resources, operator, system, authorization, no such
# database.
_SETUP_CLASSES = ("08", "25", "28", "3D", "53", "57", "58")


class Failure(click.ClickException):
    """A command that came to nothing: click prints the sentence, and exits with the code."""

    def __init__(self, sentence: str, exit_code: int) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


def of_pgqueue(error: PgqueueError) -> Failure:
    """Our own errors are such sentences already."""
    code = next((code for kind, code in _OF_PGQUEUE.items() if isinstance(error, kind)), REFUSED)
    return Failure(str(error), code)


def of_postgres(error: psycopg.Error, where: str) -> Failure:
    """Word an error of the server or of the connection to it; *where* names that, without secrets.

    DETAIL and CONTEXT are left out: they may hold values from rows.
    """
    if error.sqlstate is None:
        broken = isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))
        return _of_connection(error, where) if broken else Failure(str(error), REFUSED)
    said = error.diag.message_primary or type(error).__name__
    if isinstance(error, _SCHEMA):
        return Failure(
            f"the pgqueue schema there is not the one this code needs ({said}); "
            "run: pgqueue migrate",
            SETUP,
        )
    if isinstance(error, errors.InsufficientPrivilege):
        return Failure(f"not allowed: {said}; have it granted, or connect as another role", SETUP)
    if isinstance(error, errors.LockNotAvailable):
        return Failure(f"somebody holds a lock that this needs ({said}); {_AGAIN}", REFUSED)
    if isinstance(error, errors.ReadOnlySqlTransaction):
        return Failure(
            f"this server is read-only, a standby perhaps; connect to its primary ({where})", SETUP
        )
    code = SETUP if error.sqlstate[:2] in _SETUP_CLASSES else REFUSED
    return Failure(f"Postgres says: {said} (SQLSTATE {error.sqlstate})", code)


def of_system(error: OSError) -> Failure:
    """Word an error of the operating system: a file, a directory, a full disk."""
    subject = f"{error.filename}: " if error.filename else ""
    return Failure(f"{subject}{error.strerror or error}", SETUP)


def _of_connection(error: psycopg.Error, where: str) -> Failure:
    # The first line says it; a second one asks whether the server is running, and so do we.
    said = str(error).strip().partition("\n")[0]
    for noise in ("connection failed: ", "connection is bad: ", "FATAL:  "):
        said = said.replace(noise, "")
    advice = next((do for part, do in _UNCONNECTED.items() if part in said), _START)
    return Failure(f"no connection to Postgres ({where}): {said}; {advice}", SETUP)
