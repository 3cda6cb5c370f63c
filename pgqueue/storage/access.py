"""Roles of the database, and what they may do."""

from typing import NamedTuple

from pgqueue.storage.operation import Operation, query


class Made(NamedTuple):
    """The roles as they are now."""

    names: list[str]
    owner: str
    """Whom the schema belongs to: what the roles call runs as this one."""
    owner_is_superuser: bool


def create_roles(prefix: str) -> Operation[Made]:
    """Make the five roles whose names begin with *prefix*, as far as they are missing, and give
    them their rights."""
    rows = yield from query("create_roles", prefix=prefix)
    return Made([row[0] for row in rows], *rows[0][1:])
