"""What goes wrong, in one sentence that says what to do, and the exit code it gets.

All of it is in this file: no command catches errors to word them itself.
"""

import traceback

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

INTERRUPTED = 130
PIPE_CLOSED = 141


class Refused(click.ClickException):
    """The command was understood, and cannot be done as things are."""

    exit_code = 1


class Misused(click.ClickException):
    """The command line itself is wrong."""

    exit_code = 2


class Unready(click.ClickException):
    """Configuration, connection or schema: no command would work."""

    exit_code = 3


_OF_PGQUEUE: dict[type[PgqueueError], type[click.ClickException]] = {
    InvalidOption: Misused,
    InvalidPayload: Misused,
    EmbeddedPostgresError: Unready,
    ForeignDatabase: Unready,
    MigrationError: Unready,
    SchemaMismatch: Unready,
    TasksNotFound: Unready,
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
# Not the statement's fault: connection, authorization, no such database, resources, operator...
_SETUP_CLASSES = ("08", "25", "28", "3D", "53", "57", "58")


def of_pgqueue(error: PgqueueError) -> click.ClickException:
    """Our own errors are such sentences already."""
    kinds = (kind for cause, kind in _OF_PGQUEUE.items() if isinstance(error, cause))
    return next(kinds, Refused)(f"{error}{_place(error)}")


def of_postgres(error: psycopg.Error, where: str) -> click.ClickException:
    """Word an error of the server or of the connection to it; *where* names that, without secrets.

    DETAIL and CONTEXT are left out: they may hold values from rows.
    """
    if error.sqlstate is None:
        broken = isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))
        return _of_connection(error, where) if broken else Refused(str(error))
    said = error.diag.message_primary or type(error).__name__
    if isinstance(error, _SCHEMA):
        return Unready(
            f"the pgqueue schema there is not what this code needs ({said}); run: pgqueue migrate"
        )
    if isinstance(error, errors.InsufficientPrivilege):
        return Unready(f"not allowed: {said}; have it granted, or connect as another role")
    if isinstance(error, errors.LockNotAvailable):
        return Refused(f"somebody holds a lock that this needs ({said}); {_AGAIN}")
    if isinstance(error, errors.ReadOnlySqlTransaction):
        return Unready(f"this server is read-only ({where}); connect to its primary")
    kind = Unready if error.sqlstate[:2] in _SETUP_CLASSES else Refused
    return kind(f"Postgres says: {said} (SQLSTATE {error.sqlstate})")


def of_encoding() -> click.ClickException:
    """Word what cannot be sent. It is not quoted: it may be the DSN."""
    return Misused("an argument or a variable of the environment is not valid UTF-8")


def of_system(error: OSError) -> click.ClickException:
    """Word an error of the operating system: a file, a directory, a full disk."""
    subject = f"{error.filename}: " if error.filename else ""
    return Unready(f"{subject}{error.strerror or error}")


def _place(error: PgqueueError) -> str:
    """Where in the application's own code an import failed; the sentence itself says what did."""
    cause = error.__cause__ if isinstance(error, TasksNotFound) else None
    frames = traceback.extract_tb(cause.__traceback__) if cause else []
    return f" (at {frames[-1].filename}:{frames[-1].lineno})" if frames else ""


def _of_connection(error: psycopg.Error, where: str) -> click.ClickException:
    # The first line says it; a second one asks whether the server is running, and so do we.
    said = str(error).strip().partition("\n")[0]
    for noise in ("connection failed: ", "connection is bad: ", "FATAL:  "):
        said = said.replace(noise, "")
    advice = next((do for part, do in _UNCONNECTED.items() if part in said), _START)
    return Unready(f"no connection to Postgres ({where}): {said}; {advice}")
