"""What goes wrong with Postgres, in one sentence that says what to do: for commands and workers."""

import psycopg
from psycopg import errors

_START = (
    "is it running? Say where with PGQUEUE_DSN or libpq's PG* variables; "
    "for a database to play with run: pgqueue dev"
)
_AGAIN = "try again in a moment"
_WHO = "check the user and password in PGQUEUE_DSN, in the PG* variables, or in ~/.pgpass"
_MEND = "mend it in PGQUEUE_DSN or in the PG* variables"

# What is said when there is no connection (there is no SQLSTATE then), and what to do.
_UNCONNECTED = {
    "password authentication failed": _WHO,
    "no password supplied": _WHO,
    'role "': "name another user in PGQUEUE_DSN or PGUSER",
    'database "': "create it with createdb, or name another one in PGQUEUE_DSN or PGDATABASE",
    "pg_hba.conf": "the server does not admit this user from here this way: ask who runs it",
    "definition of service": "define it in ~/.pg_service.conf, or set PGQUEUE_DSN",
    "bad value for ": _MEND,
    "invalid integer value ": _MEND,
    "invalid port number": _MEND,
    "invalid sslmode value": _MEND,
    "invalid value for parameter": _MEND,
    "starting up": _AGAIN,
    "shutting down": _AGAIN,
    "too many clients": _AGAIN,
    "connection slots": _AGAIN,
    "closed the connection": _AGAIN,
}

SCHEMA = (
    errors.UndefinedTable,
    errors.UndefinedColumn,
    errors.UndefinedFunction,
    errors.InvalidSchemaName,
)
"""The schema is not there, or is another one."""


def is_unconnected(error: psycopg.Error) -> bool:
    """Whether there is no connection, or none could be made, as opposed to a refused statement."""
    broken = isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))
    return error.sqlstate is None and (broken or str(error).startswith("bad value for "))


def explain(error: psycopg.Error, where: str) -> str:
    """Word an error of the server or of the connection to it; *where* names that, without secrets.

    DETAIL and CONTEXT are left out: they may hold values from rows.
    """
    if is_unconnected(error):
        return _explain_connection(error, where)
    if error.sqlstate is None:
        return str(error)
    said = error.diag.message_primary or type(error).__name__
    if isinstance(error, SCHEMA):
        return (
            f"the pgqueue schema there is not what this code needs ({said}); run: pgqueue migrate"
        )
    if isinstance(error, errors.InsufficientPrivilege):
        return f"not allowed: {said}; have it granted, or connect as another role"
    if isinstance(error, errors.LockNotAvailable):
        return f"somebody holds a lock that this needs ({said}); {_AGAIN}"
    if isinstance(error, errors.ReadOnlySqlTransaction):
        return f"this server is read-only ({where}); connect to its primary"
    hint = error.diag.message_hint
    return f"Postgres says: {said} (SQLSTATE {error.sqlstate}){f'; {hint}' if hint else ''}"


def _explain_connection(error: psycopg.Error, where: str) -> str:
    # The first line says it; a second one asks whether the server is running, and so do we.
    said = str(error).strip().partition("\n")[0]
    for noise in ("connection failed: ", "connection is bad: ", "FATAL:  "):
        said = said.replace(noise, "")
    advice = next((do for part, do in _UNCONNECTED.items() if part in said), _START)
    return f"no connection to Postgres ({where}): {said}; {advice}"
