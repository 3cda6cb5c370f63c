"""Run the checks, each in a transaction of its own: a broken one hides no other."""

from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any

import psycopg
from psycopg import errors, sql

from pgqueue.storage.advice import SCHEMA, is_unconnected
from pgqueue.storage.checkup import CHECKS
from pgqueue.storage.checkup.check import (
    Check,
    Circumstances,
    Finding,
    Verdict,
    critical,
    info,
    ok,
    warning,
)
from pgqueue.storage.drivers import run
from pgqueue.storage.looking import looking
from pgqueue.storage.operation import query

PATIENCE = timedelta(seconds=5)
"""A check that takes longer is given up."""
NOT_ALLOWED = "not allowed to look"
"""So begins what is said by a check that the present user may not make."""
AT_MOST = 10
"""So many verdicts of one check are kept."""


def examine(
    connection: psycopg.Connection[Any],
    here: Circumstances,
    *,
    checks: Iterable[Check] = CHECKS,
    patience: timedelta = PATIENCE,
) -> list[Finding]:
    """Run every check; return what each found, if only that all is well.

    Raises :class:`psycopg.OperationalError` when the connection is lost."""
    return [
        Finding(
            check.name, check.group, each.severity, each.subject, each.text, each.fix, each.figures
        )
        for check in checks
        for each in _shortened(_verdicts(connection, check, here, patience))
    ]


def _verdicts(
    connection: psycopg.Connection[Any], check: Check, here: Circumstances, patience: timedelta
) -> list[Verdict]:
    if check.needs_tasks and here.tasks is None:
        return [info("not looked at: needs --app MODULE:TASKS")]
    try:
        with looking(connection, patience):
            if check.needs and not run(connection, query("has_role", role=check.needs))[0][0]:
                return [_forbidden(connection, check.needs)]
            rows = run(connection, check.ask(here))
        return list(check.judge(rows, here)) or [ok(check.fine)]
    except psycopg.Error as error:
        if is_unconnected(error) or connection.closed:
            raise
        if check is CHECKS[0] and isinstance(error, errors.InsufficientPrivilege):
            return [_shut_out(connection, error)]
        return [_unseen(connection, error, patience)]
    except Exception as error:  # noqa: BLE001  a bug in one judge is not to silence the others
        said = f"{type(error).__name__}: {error}"
        return [warning(f"the check itself failed: {said}", "report it, with this line")]


def _forbidden(connection: psycopg.Connection[Any], role: str) -> Verdict:
    return info(f"{NOT_ALLOWED}: needs {role}", f"GRANT {role} TO {_user(connection)};")


def _shut_out(connection: psycopg.Connection[Any], error: psycopg.Error) -> Verdict:
    """Who may not even ask for the schema's revision has seen nothing: that is not all well."""
    return critical(
        f"this user may not use the schema, so little was looked at ({error.diag.message_primary})",
        f"GRANT USAGE ON SCHEMA pgqueue TO {_user(connection)};",
    )


def _unseen(
    connection: psycopg.Connection[Any], error: psycopg.Error, patience: timedelta
) -> Verdict:
    said = error.diag.message_primary or type(error).__name__
    if isinstance(error, errors.InsufficientPrivilege):
        return info(
            f"{NOT_ALLOWED}: needs the worker's role ({said})",
            f"GRANT pgqueue_worker TO {_user(connection)};",
        )
    if isinstance(error, errors.QueryCanceled):
        return warning(
            f"given up after {patience.total_seconds():g} s: a busy server, or a huge table",
            "try again when it is calmer",
        )
    if isinstance(error, errors.LockNotAvailable):
        return warning(f"somebody holds a lock ({said})", "try again in a moment")
    if isinstance(error, SCHEMA):
        return info(f"not looked at: the schema is not there, or another one ({said})")
    return warning(f"could not look: {said} (SQLSTATE {error.sqlstate})", "see the server's log")


def _user(connection: psycopg.Connection[Any]) -> str:
    name = connection.info.user
    return sql.Identifier(name).as_string(connection)


def _shortened(verdicts: list[Verdict]) -> Iterator[Verdict]:
    yield from verdicts[:AT_MOST]
    if len(verdicts) > AT_MOST:
        rest = verdicts[AT_MOST:]
        yield rest[0]._replace(text=f"and {len(rest)} more like these", subject="", fix=None)
