"""A migrated database for models: every move of a job is recorded, and it is as it was before
within a few milliseconds."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

import psycopg
from psycopg import sql

from tests.chaos import checker

Connection = psycopg.Connection[Any]

TABLES = (
    *("jobs", "finished_jobs", "attempts", "job_keys", "batches", "batch_outcomes"),
    *("schedules", "ticks", "schedule_gaps", "progress", "job_logs", "queues", "audit", "tallies"),
)
"""What a step may write; the rest of the schema is as it was."""
HISTORY = ("job_event", "effect")
_ALL = [*(("pgqueue", table) for table in TABLES), *(("chaos", table) for table in HISTORY)]

INVARIANTS = (
    *("i04_one_outcome", "i05_attempts", "i06_fence", "i06_results", "i07_cause"),
    *("i12_stale_effects", "i15_ticks", "i16_not_before", "i17_counters"),
    *("i18_moves_and_rows", "i24_transitions"),
)
"""Those of a chaos run that hold at any moment, whatever is still to do."""


def prepare(connection: Connection) -> None:
    """Record moves, and keep a picture of every table to go back to; at first an empty one."""
    # Small queries over views: to compile them would take longest of all.
    connection.execute("SET jit = off; SET plan_cache_mode = force_generic_plan")
    checker.install(connection)
    checker.load(connection, [], rescue=timedelta())
    # To empty sixty partitions takes longer than all else. The nets hold what they would.
    leaves = connection.execute(
        "SELECT inhrelid::regclass::text FROM pg_inherits"
        " WHERE inhrelid::regclass::text ~ '^pgqueue\\..*_\\d{8}$'"
    ).fetchall()
    for (leaf,) in leaves:
        connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(*leaf.split("."))))
    connection.execute("CREATE SCHEMA picture")
    names = [
        (sql.Identifier(schema, table), sql.Identifier("picture", table)) for schema, table in _ALL
    ]
    empty = sql.SQL("").join(sql.SQL("DELETE FROM {};").format(table) for table, _ in names)
    fill = sql.SQL("").join(
        sql.SQL("INSERT INTO {} OVERRIDING SYSTEM VALUE SELECT * FROM {};").format(*pair)
        for pair in names
    )
    for table, picture in names:
        connection.execute(sql.SQL("CREATE TABLE {} AS TABLE {}").format(picture, table))
    # Without triggers: going back is no move.
    connection.execute(
        sql.SQL(
            "CREATE FUNCTION picture.restore() RETURNS void LANGUAGE plpgsql"
            " SET session_replication_role = replica AS $$BEGIN {} {} END$$"
        ).format(empty, fill)
    )


def take_picture(connection: Connection) -> None:
    """Have :func:`restore` lead back to what is there now."""
    for schema, table in _ALL:
        picture, there = sql.Identifier("picture", table), sql.Identifier(schema, table)
        connection.execute(sql.SQL("TRUNCATE {}").format(picture))
        connection.execute(sql.SQL("INSERT INTO {} SELECT * FROM {}").format(picture, there))


def restore(connection: Connection) -> None:
    connection.execute("SELECT picture.restore()")


def last_move(connection: Connection) -> int:
    """The id of the last move that was recorded."""
    row = connection.execute("SELECT coalesce(max(id), 0) FROM chaos.job_event").fetchone()
    assert row is not None
    return int(row[0])


def violations_query(*, ticks: bool = True) -> str:
    """The invariants as one query: a row for each row that says one does not hold.

    A job that was not to be kept vanishes into no state, and may. *ticks*: whether those of
    schedules are at whole multiples."""
    return " UNION ALL ".join(
        f"SELECT '{invariant.name}' AS name, to_jsonb(wrong)::text AS row"  # noqa: S608  our files
        f" FROM ({invariant.query}) AS wrong"
        " WHERE strpos(to_jsonb(wrong)::text, '\"vanished\"') = 0"
        for invariant in checker.find_invariants()
        if invariant.name in INVARIANTS and (ticks or invariant.name != "i15_ticks")
    )


@contextmanager
def gated_role(connection: Connection) -> Iterator[str]:
    """A role that may do everything, and whose statements stop at a gate: whoever holds the
    advisory lock (17, its backend's pid) stops a statement that has its snapshot at the first row
    it looks at, before it locks it. Yields the role's name."""
    role = f"pgqueue_model_{uuid4().hex[:8]}"
    connection.execute(f"CREATE ROLE {role} NOLOGIN".encode())
    try:
        for schema in ("pgqueue", "chaos", "picture"):
            for grant in (
                f"USAGE ON SCHEMA {schema}",
                f"ALL ON ALL TABLES IN SCHEMA {schema}",
                f"ALL ON ALL SEQUENCES IN SCHEMA {schema}",
                f"EXECUTE ON ALL FUNCTIONS IN SCHEMA {schema}",
            ):
                connection.execute(f"GRANT {grant} TO {role}".encode())
        connection.execute(
            """
            CREATE FUNCTION picture.gate() RETURNS boolean LANGUAGE plpgsql COST 0.01 AS $$
            BEGIN
                PERFORM pg_advisory_lock_shared(17, pg_backend_pid());
                PERFORM pg_advisory_unlock_shared(17, pg_backend_pid());
                RETURN true;
            END $$
            """
        )
        for table in ("jobs", "job_keys", "batches", "schedules"):
            connection.execute(f"ALTER TABLE pgqueue.{table} ENABLE ROW LEVEL SECURITY".encode())
            for command, clause in (
                ("SELECT", "USING (picture.gate())"),
                ("UPDATE", "USING (true)"),
                ("DELETE", "USING (true)"),
                ("INSERT", "WITH CHECK (true)"),
            ):
                connection.execute(
                    f"CREATE POLICY gate_{command.lower()} ON pgqueue.{table}"
                    f" FOR {command} TO {role} {clause}".encode()
                )
        yield role
    finally:
        connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}".encode())
