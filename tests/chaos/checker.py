"""Judges a run: loads what the harness logged, and asks of every invariant that it has no row.

The history is in the database (``history.sql``: a trigger that the harness installs); what an
application was told, and what handlers did, is in files that no crash of the database can touch.
Each file of ``invariants/`` says in its first line which promise it proves.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import namedtuple_row

from pgqueue.job import TRANSITIONS
from tests.chaos.logbook import Entry

HERE = Path(__file__).parent
SHOWN = 20
"""So many rows of a violated invariant are kept; all are counted."""
_COLUMNS = {
    "ack": ("job_id", "key", "at"),
    "rolled_back": ("job_id",),
    "start": ("job_id", "attempt", "process", "at"),
    "fault": ("kind", "target", "began", "ended"),
    "shutdown": ("process", "seconds", "allowed", "at"),
}
_MOMENTS = {"at", "began", "ended"}

Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class Invariant:
    """A query that must return no row."""

    name: str
    promise: str
    query: str


@dataclass(frozen=True, slots=True)
class Violation:
    """An invariant that does not hold, and the first of the rows that say so."""

    invariant: Invariant
    count: int
    rows: list[Any]

    def __str__(self) -> str:
        rows = "\n".join(f"    {row}" for row in self.rows)
        return f"{self.invariant.name}: {self.count} · {self.invariant.promise}\n{rows}"


def find_invariants() -> list[Invariant]:
    return [_read(path) for path in sorted((HERE / "invariants").glob("*.sql"))]


def install(connection: Connection) -> None:
    """Record every move of every job from now on. For databases of tests only."""
    connection.execute((HERE / "history.sql").read_text().encode())


def load(connection: Connection, entries: Iterable[Entry], *, rescue: timedelta) -> None:
    """Put the harness's own logs beside the history. *rescue*: within how long the jobs of a
    worker that died are back."""
    for table in (*_COLUMNS, "transition", "run"):
        connection.execute(sql.SQL("TRUNCATE {}").format(sql.Identifier("chaos", table)))
    rows: dict[str, list[list[Any]]] = {table: [] for table in _COLUMNS}
    for entry in entries:
        if entry["what"] in rows:
            for target in entry.get("targets", [None]):
                each = {**entry, "target": target}
                rows[entry["what"]].append(_row(each, _COLUMNS[entry["what"]]))
    rows["transition"] = [[old, new] for old, states in TRANSITIONS.items() for new in states]
    rows["run"] = [[rescue]]
    for table, lines in rows.items():
        _copy(connection, table, lines)
    connection.execute("ANALYZE")


def check(connection: Connection) -> list[Violation]:
    """The invariants that do not hold."""
    return [
        violation
        for invariant in find_invariants()
        if (violation := _check(connection, invariant)) is not None
    ]


def check_files(connection: Connection) -> str:
    """Have amcheck verify every index of the schema against its table; return how many, or that
    this server does not have it."""
    available = connection.execute(
        "SELECT FROM pg_available_extensions WHERE name = 'amcheck'"
    ).fetchone()
    if available is None:
        return "SKIPPED: this PostgreSQL comes without amcheck"
    connection.execute("CREATE EXTENSION IF NOT EXISTS amcheck")
    checked = connection.execute(
        "SELECT count(bt_index_parent_check(c.oid, true)::text) FROM pg_index"
        " JOIN pg_class AS c ON c.oid = indexrelid WHERE relkind = 'i' AND indisvalid"
        " AND relnamespace = 'pgqueue'::regnamespace"
    ).fetchone()
    assert checked is not None
    return f"{checked[0]} indexes verified"


def _check(connection: Connection, invariant: Invariant) -> Violation | None:
    with connection.cursor(row_factory=namedtuple_row) as cursor:
        cursor.execute(invariant.query.encode())
        rows = cursor.fetchall()
    return Violation(invariant, len(rows), rows[:SHOWN]) if rows else None


def _read(path: Path) -> Invariant:
    query = path.read_text()
    return Invariant(path.stem, query.splitlines()[0].removeprefix("-- "), query)


def _row(entry: Mapping[str, Any], columns: Iterable[str]) -> list[Any]:
    return [
        datetime.fromtimestamp(entry[column], UTC) if column in _MOMENTS else entry.get(column)
        for column in columns
    ]


def _copy(connection: Connection, table: str, rows: list[list[Any]]) -> None:
    into = sql.SQL("COPY {} FROM STDIN").format(sql.Identifier("chaos", table))
    with connection.cursor() as cursor, cursor.copy(into) as copy:
        for row in rows:
            copy.write_row(row)
