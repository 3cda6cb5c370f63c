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
    InsecureConnection,
    InvalidOption,
    InvalidPayload,
    MissingPackage,
    PgqueueError,
    PortTaken,
    ScheduleNotFound,
    SchemaMismatch,
)
from pgqueue.migrate.errors import MigrationError
from pgqueue.storage.advice import SCHEMA, explain, is_unconnected
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
    InsecureConnection: Unready,
    MigrationError: Unready,
    MissingPackage: Unready,
    PortTaken: Unready,
    ScheduleNotFound: Refused,
    SchemaMismatch: Unready,
    TasksNotFound: Unready,
}

# Not the statement's fault: connection, authorization, no such database, resources, operator...
_SETUP_CLASSES = ("08", "25", "28", "3D", "53", "57", "58")
_SETUP_ERRORS = (*SCHEMA, errors.InsufficientPrivilege)


def of_pgqueue(error: PgqueueError) -> click.ClickException:
    """Our own errors are such sentences already."""
    kinds = (kind for cause, kind in _OF_PGQUEUE.items() if isinstance(error, cause))
    return next(kinds, Refused)(f"{error}{_place(error)}")


def of_postgres(error: psycopg.Error, where: str) -> click.ClickException:
    """Word an error of the server or of the connection to it; *where* names that, without
    secrets."""
    setup = error.sqlstate is not None and error.sqlstate[:2] in _SETUP_CLASSES
    unready = setup or is_unconnected(error) or isinstance(error, _SETUP_ERRORS)
    return (Unready if unready else Refused)(explain(error, where))


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
