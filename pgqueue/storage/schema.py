"""Is this the right schema, and are these jobs ours to run?"""

from typing import Any, Final, NamedTuple

from psycopg.errors import InvalidSchemaName, UndefinedFunction

from pgqueue.errors import ForeignDatabase, SchemaMismatch
from pgqueue.storage.operation import Operation, query

NEEDED = "pgqueue_0001"
"""The oldest revision this code can work with. Revisions are named so that they sort."""


class Identity(NamedTuple):
    """Which database a connection is on: the cluster's system identifier, and the database's
    oid."""

    system_identifier: int
    database_oid: int


def require_schema() -> Operation[None]:
    """Raise :class:`SchemaMismatch` unless the schema is at least what this code needs."""
    if not (yield from query("find_version"))[0][0]:
        raise SchemaMismatch(None, NEEDED)
    found = str((yield from query("read_version"))[0][0])
    if found < NEEDED:
        raise SchemaMismatch(found, NEEDED)


class _SchemaExpected:
    """Says it in one sentence when the database has no such function: an enqueue has no statement
    to spare for asking first. A class, because it is entered for every enqueue, and a generator
    takes five times as long."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: Any
    ) -> None:
        missing = getattr(error, "orig", error)
        # Only an error in the statement itself has a place in it; others are from a trigger.
        if (
            isinstance(missing, (UndefinedFunction, InvalidSchemaName))
            and missing.diag.statement_position
        ):
            raise SchemaMismatch(None, NEEDED) from error


schema_expected: Final = _SchemaExpected()
"""Around the first statement of an operation on a connection of the application's."""


def require_home() -> Operation[Identity]:
    """Return the database's identity; raise :class:`ForeignDatabase` if its jobs are another's."""
    system, oid, home_system, home_oid = (yield from query("read_home"))[0]
    if (system, oid) != (home_system, home_oid):
        raise ForeignDatabase()
    return Identity(system, oid)


def identity() -> Operation[Identity]:
    """Return the identity of the database a connection is on."""
    return Identity._make((yield from query("read_identity"))[0])
