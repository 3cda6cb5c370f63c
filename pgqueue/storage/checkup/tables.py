"""Judges of the tables: whether they are kept clean, and whether claims go by an index."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from pgqueue import statements
from pgqueue.storage.checkup.check import (
    Circumstances,
    Verdict,
    check,
    critical,
    info,
    length,
    ok,
    warning,
)
from pgqueue.storage.checkup.server import RELOAD
from pgqueue.storage.operation import Operation, Row, Statement, query

TABLES = "tables"

HELD, LONG_HELD = 300.0, 3600.0
"""Seconds that a snapshot may be held: beyond, and far beyond."""
OLD_SLOT = 1_000_000
"""Transactions that a replication slot may be behind."""
MANY_DEAD = 50_000
"""Dead rows; a claim that must walk over them takes 10 ms."""
MANY_CHANGES = 50_000
LARGE_INDEX = 32 << 20
"""Bytes; smaller ones are not called bloated."""
BYTES_A_ROW = 400
"""Generous for an index of ours; one that has more a row holds mostly nothing."""
MANY_TRANSACTIONS = 1_000_000_000
"""Half of what there is before the server stops taking writes."""


@check(TABLES, fine="nobody holds an old snapshot", needs="pg_monitor")
def horizon(rows: Sequence[Row], here: Circumstances) -> Iterator[Verdict]:
    """Who keeps dead rows from being cleaned up?"""
    for kind, name, pid, user, application, state, query_kind, transactions, seconds in rows:
        figures = {"kind": kind, "pid": pid, "transactions": transactions, "seconds": seconds}
        since = "" if seconds is None else f" since {length(seconds)}"
        if kind == "slot":
            text = f"replication slot {name} ({state}) holds {transactions:,} transactions"
            if transactions >= OLD_SLOT or state == "inactive":
                fix = f"SELECT pg_drop_replication_slot('{name}');  -- unless its reader comes back"
                yield warning(text, fix, subject=name, **figures)
            continue
        if kind == "standby":
            if transactions >= OLD_SLOT:
                text = f"standby {application} ({name}) holds {transactions:,} transactions"
                fix = "ALTER SYSTEM SET hot_standby_feedback = off;  -- at the standby"
                yield warning(text, fix, subject=application or "", **figures)
            continue
        if seconds is None or seconds < HELD:
            continue
        if kind == "prepared":
            text = f"prepared transaction '{name}' of {user} holds a snapshot{since}"
            quoted = name.replace("'", "''")
            fix = f"ROLLBACK PREPARED '{quoted}';  -- or COMMIT PREPARED"
        else:
            doing = f"{state}, {query_kind or 'no query'}"
            text = (
                f"session {pid} ({application or 'no application name'}, {user}; {doing})"
                f" is in a transaction{since}"
            )
            fix = f"SELECT pg_terminate_backend({pid});"
        level = critical if seconds >= LONG_HELD else warning
        yield level(text, fix, subject=str(name or pid), **figures)


@check(TABLES, fine="")
def dead_rows(rows: Sequence[Row], here: Circumstances) -> Iterator[Verdict]:
    """Does cleaning up keep up?"""
    for table, dead, living, seconds in rows:
        if dead < MANY_DEAD or dead < 0.2 * living:
            continue
        when = "never" if seconds is None else f"{length(seconds)} ago"
        text = f"{table}: {dead:,} dead rows beside {living:,} living; last vacuumed {when}"
        level = critical if table == "jobs" and dead >= 20 * MANY_DEAD else warning
        fix = f"VACUUM pgqueue.{table};  -- no help while a snapshot is held: see horizon"
        yield level(text, fix, subject=table, dead=dead, living=living, seconds=seconds)
    jobs = next((row for row in rows if row[0] == "jobs"), None)
    if jobs:
        _, dead, living, seconds = jobs
        when = "not yet" if seconds is None else f"{length(seconds)} ago"
        yield ok(f"jobs: {dead:,} dead, {living:,} living; vacuumed {when}", dead=dead)


@check(
    TABLES,
    fine="autovacuum is on, and looks often",
    ask=lambda here: query(
        "read_settings", names=["autovacuum", "track_counts", "autovacuum_naptime"]
    ),
)
def vacuum_settings(rows: Sequence[Row], here: Circumstances) -> Iterator[Verdict]:
    """Of the server."""
    for name, value, _, _ in rows:
        if name == "autovacuum_naptime":
            if int(value) > 300:
                fix = f"ALTER SYSTEM SET autovacuum_naptime = '1min'; {RELOAD}"
                yield warning(f"autovacuum looks only every {value} s", fix, subject=name)
        elif value == "off":
            text = f"{name} is off: dead rows pile up, and claims get slower and slower"
            yield critical(text, f"ALTER SYSTEM SET {name} = on; {RELOAD}", subject=name)


@check(TABLES, fine="autovacuum is on for every table")
def table_settings(rows: Sequence[Row], here: Circumstances) -> Iterator[Verdict]:
    """Switched off for one?"""
    for (table,) in rows:
        level = critical if table == "jobs" else warning
        fix = f"ALTER TABLE pgqueue.{table} RESET (autovacuum_enabled);"
        yield level(f"autovacuum is off for {table}: dead rows pile up", fix, subject=table)


@check(TABLES, fine="the planner knows the tables as they are")
def statistics(rows: Sequence[Row], here: Circumstances) -> Iterator[Verdict]:
    """Analysed since much changed? People's queries are planned by it; claims are not."""
    for table, changed, living, seconds in rows:
        if changed < MANY_CHANGES or changed < living:
            continue
        when = "never analysed" if seconds is None else f"analysed {length(seconds)} ago"
        text = f"{table} was {when}, and {changed:,} rows changed since"
        yield warning(text, f"ANALYZE pgqueue.{table};", subject=table, changed=changed)


@check(TABLES, fine="")
def wraparound(rows: Sequence[Row], here: Circumstances) -> Iterator[Verdict]:
    """How near is the end of transaction ids?"""
    for what, age, insists in zip(("transactions", "multixacts"), *_halves(rows[0]), strict=True):
        text = f"the oldest unfrozen row is {age:,} {what} old"
        fix = "vacuumdb --all --freeze  # after ending old transactions: see horizon"
        if age >= MANY_TRANSACTIONS:
            yield critical(f"{text}: at 2.1 billion the server stops", fix, age=age, kind=what)
        elif age >= 1.5 * insists:
            text = f"{text}: autovacuum insists since {insists:,}, and does not get through"
            yield warning(text, fix, age=age, kind=what)
        elif what == "transactions":
            yield ok(text, age=age, kind=what)


def _halves(row: Row) -> tuple[Row, Row]:
    return row[:2], row[2:]


@check(TABLES, fine="all are there, usable and lean")
def indexes(rows: Sequence[Row], here: Circumstances) -> Iterator[Verdict]:
    """As the migrations made them?"""
    there = {row[0] for row in rows}
    for name in sorted(here.indexes.keys() - there):
        yield critical(f"index {name} is missing", here.indexes[name], subject=name)
    for name, table, is_usable, size, tuples, is_parent in rows:
        if not is_usable:
            fix = f"REINDEX INDEX CONCURRENTLY pgqueue.{name};"
            if is_parent and name in here.indexes:
                fix = f"DROP INDEX pgqueue.{name};\n{here.indexes[name]}"
            elif name.rstrip("0123456789").endswith(("_ccnew", "_ccold")):
                fix = f"DROP INDEX CONCURRENTLY pgqueue.{name};"
            text = f"index {name} of {table} is invalid: it costs writes and serves nobody"
            yield critical(text, fix, subject=name)
        elif size >= LARGE_INDEX and tuples * BYTES_A_ROW < size:
            text = f"index {name} has {size >> 20:,} MiB for {tuples:,.0f} rows"
            fix = f"REINDEX INDEX CONCURRENTLY pgqueue.{name};"
            yield warning(text, fix, subject=name, bytes=size, rows=tuples)


def _plan(here: Circumstances) -> Operation[list[Row]]:
    """The plan of a claim, with the settings of a worker's connection, which this one has."""
    return (
        yield Statement(
            f"EXPLAIN (FORMAT JSON) {statements.load('claim_jobs')}",
            {
                "queues": ["default"],
                "limits": [10],
                "bytes": [1 << 20],
                "tasks": ["any"],
                "worker_id": UUID(int=0),
                "lease_ms": 30_000,
            },
        )
    )


@check(TABLES, fine="claims go by jobs_available", ask=_plan)
def claim_plan(rows: Sequence[Row], here: Circumstances) -> Iterator[Verdict]:
    """Does a claim go by its index?"""
    scans = [node for node in _nodes(rows[0][0][0]["Plan"]) if node.get("Relation Name") == "jobs"]
    used = {node.get("Index Name") for node in scans}
    if "jobs_available" not in used:
        how = ", ".join(sorted(name or "no index" for name in used))
        yield critical(
            f"claims go by {how}, not by jobs_available: each one reads too much",
            "REINDEX INDEX CONCURRENTLY pgqueue.jobs_available;  -- missing? See indexes\n"
            "ANALYZE pgqueue.jobs;",
            used=sorted(name or "" for name in used),
        )


def _nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from _nodes(below)


@check(TABLES, fine="made for a week ahead; none fell outside")
def partitions(rows: Sequence[Row], here: Circumstances) -> Iterator[Verdict]:
    """Has history somewhere to go? Workers see to it once a day, two weeks ahead."""
    make = "SELECT pgqueue.make_partitions();"
    for parent, soon, week, strays, overdue in rows:
        if strays:
            many = f"{strays}+" if strays >= 1000 else str(strays)
            text = f"{parent}: {many} rows fell into its DEFAULT partition"
            yield warning(text, make, subject=parent, strays=strays)
        if week:
            level = critical if soon else warning
            text = f"{parent}: {week} partitions of the next week are missing"
            yield level(f"{text}; a worker makes them", make, subject=parent, missing=week)
        if overdue:
            yield info(
                f"{parent}: {overdue} partitions could be gone by now; a worker empties them",
                "SELECT pgqueue.forget_partition(leaf) FROM pgqueue.expired_partitions;",
                subject=parent,
                overdue=overdue,
            )
