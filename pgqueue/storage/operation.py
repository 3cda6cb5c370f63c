"""An operation is a generator: it yields statements and is sent their rows.

The logic of an operation is thus written once, for sync and async connections of both libraries;
the drivers that execute it are ten lines each (``drivers.py``). Where a statement fails, its error
is raised at the ``yield``.
"""

from collections.abc import Generator, Mapping
from typing import Any, NamedTuple, TypeVar

from pgqueue import statements

T = TypeVar("T")
Row = tuple[Any, ...]


class Statement(NamedTuple):
    """One SQL statement with its parameters by name."""

    sql: str
    params: Mapping[str, Any]


Operation = Generator[Statement, list[Row], T]


def query(name: str, /, **params: Any) -> Operation[list[Row]]:
    """Run the statement in ``statements/<name>.sql``; return its rows."""
    return (yield Statement(statements.load(name), params))
