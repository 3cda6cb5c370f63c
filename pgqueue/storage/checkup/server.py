"""Judges of the server, the schema in it, and this connection to it."""

import time
from collections.abc import Iterator, Sequence
from datetime import date

from pgqueue.storage.checkup.check import (
    Circumstances,
    Question,
    Verdict,
    check,
    critical,
    info,
    length,
    ok,
    warning,
)
from pgqueue.storage.operation import Operation, Row, query
from pgqueue.storage.schema import NEEDED

SCHEMA = "schema"
SERVER = "server"
RELOAD = "SELECT pg_reload_conf();"

OLDEST, NEWEST = 15, 18
"""The major versions that pgqueue is tested with."""
_SUPPORT_ENDS = {
    14: date(2026, 11, 12),
    15: date(2027, 11, 11),
    16: date(2028, 11, 9),
    17: date(2029, 11, 8),
    18: date(2030, 11, 14),
}
CONNECTIONS_EACH = 4
"""The connections of a worker process, at most; those of handlers come on top."""
ROUND_TRIPS = 3
SKEW = 2.0
"""Seconds that two clocks may be apart."""
LONG_LISTEN = 60.0


def _settings(*names: str) -> Question:
    return lambda here: query("read_settings", names=list(names))


def _set(name: str, value: str, reset: str | None) -> str:
    """How a setting is mended: where it was set."""
    return f"{reset};" if reset else f"ALTER SYSTEM SET {name} = {value}; {RELOAD}"


def _revision(here: Circumstances) -> Operation[list[Row]]:
    if not (yield from query("find_version"))[0][0]:
        return []
    return (yield from query("read_version"))


@check(SCHEMA, fine="", ask=_revision)
def schema(rows: Sequence[Row], here: Circumstances) -> Iterator[Verdict]:
    """At what this code needs?"""
    if not rows:
        yield critical("the schema is not installed, or much too old", "pgqueue migrate")
        return
    found = rows[0][0]
    figures = {"revision": found, "needed": NEEDED, "head": here.head}
    if found < NEEDED:
        text = f"the schema is at {found}, and this code needs {NEEDED}: no worker starts"
        yield critical(text, "pgqueue migrate", **figures)
    elif found < here.head:
        text = f"the schema is at {found}, behind this code's {here.head}"
        yield warning(text, "pgqueue migrate", **figures)
    elif found > here.head:
        text = f"the schema is at {found}, newer than this code's {here.head}"
        yield info(text, "pip install --upgrade pgqueue", **figures)
    else:
        yield ok(f"revision {found}, as this code wants it", **figures)


@check(SCHEMA, fine="the jobs belong to this database", ask=lambda here: query("read_home"))
def home(rows: Sequence[Row], here: Circumstances) -> Iterator[Verdict]:
    """A copy of another database, whose jobs are that one's to run?"""
    system, oid, home_system, home_oid = rows[0]
    if home_system is not None and (system, oid) != (home_system, home_oid):
        yield critical(
            "this is a copy: its jobs belong to another database, and workers refuse to run them",
            "pgqueue adopt",
        )


@check(SERVER, fine="")
def version(rows: Sequence[Row], here: Circumstances) -> Iterator[Verdict]:
    """One that pgqueue is tested with, and that gets fixes?"""
    number, name, today = rows[0]
    major = number // 10000
    ends = _SUPPORT_ENDS.get(major)
    if major < OLDEST:
        text = f"PostgreSQL {name} is older than {OLDEST}, the oldest that pgqueue is for"
        yield critical(text, f"upgrade the server to PostgreSQL {NEWEST}", version=name)
    elif ends is not None and today > ends:
        text = f"PostgreSQL {name} gets no fixes any more since {ends}"
        yield warning(text, f"upgrade the server to PostgreSQL {NEWEST}", version=name)
    elif major > NEWEST:
        yield info(f"PostgreSQL {name} is newer than any pgqueue was tested with", version=name)
    else:
        yield ok(f"PostgreSQL {name}", version=name)


@check(
    SERVER,
    fine="a commit survives a power cut",
    ask=_settings("fsync", "full_page_writes", "synchronous_commit"),
)
def durability(rows: Sequence[Row], here: Circumstances) -> Iterator[Verdict]:
    """Does a commit survive a power cut?"""
    for name, value, _, reset in rows:
        if value != "off":
            continue
        fix = _set(name, "on", reset)
        if name == "synchronous_commit":
            text = "synchronous_commit is off: a crash forgets jobs just enqueued"
            yield warning(text, fix, subject=name)
        else:
            text = f"{name} is off: a power cut loses or garbles the database"
            yield critical(text, fix, subject=name)


@check(SERVER, fine="")
def connections(rows: Sequence[Row], here: Circumstances) -> Iterator[Verdict]:
    """Enough for what is there, and for as many workers again during a deployment?"""
    used, most, workers = rows[0]
    wanted = workers * CONNECTIONS_EACH
    said = f"{used} of {most} connections are in use"
    figures = {"used": used, "most": most, "workers": workers}
    fix = (
        f"ALTER SYSTEM SET max_connections = {2 * most};  -- and restart the server\n"
        "-- or put a pooler before the application"
    )
    if used >= 0.95 * most:
        yield critical(f"{said}: new ones will be refused", fix, **figures)
    elif used >= 0.8 * most:
        yield warning(said, fix, **figures)
    elif wanted > most - used:
        text = f"{said}: too few are left to start {workers} new workers beside the old"
        yield warning(text, fix, **figures)
    else:
        yield ok(said, **figures)


@check(
    SERVER,
    fine="none cuts workers, handlers or listeners off",
    ask=_settings(
        "statement_timeout",
        "idle_in_transaction_session_timeout",
        "idle_session_timeout",
        "transaction_timeout",
    ),
)
def timeouts(rows: Sequence[Row], here: Circumstances) -> Iterator[Verdict]:
    """Of this user: none too short for what handlers and idle workers do?"""
    dangers = {
        "statement_timeout": (5, "5s", "cuts off handlers, and enqueueing in bulk"),
        "idle_in_transaction_session_timeout": (
            10, "60s", "cuts off handlers that think within their transaction",
        ),
        "idle_session_timeout": (3600, "0", "cuts off workers that have nothing to do"),
        "transaction_timeout": (60, "0", "cuts off transactional handlers"),
    }  # fmt: skip
    for name, value, _, reset in rows:
        seconds = int(value) / 1000
        least, better, harm = dangers[name]
        if 0 < seconds < least:
            fix = _set(name, f"'{better}'", reset)
            text = f"{name} of this user is {seconds:g} s: it {harm}"
            yield warning(text, fix, subject=name, seconds=seconds)


@check(
    SERVER,
    fine="none makes a job dearer than it need be",
    ask=_settings(
        "log_statement",
        "log_min_duration_statement",
        "synchronous_commit",
        "commit_delay",
        "max_wal_size",
    ),
)
def slow_settings(rows: Sequence[Row], here: Circumstances) -> Iterator[Verdict]:
    """Settings that cost a worker its speed."""
    for name, value, _, reset in rows:
        if name == "log_statement" and value in ("all", "mod"):
            text = f"log_statement is {value}: it logs every job, and what jobs hold"
            yield warning(text, _set(name, "'ddl'", reset), subject=name)
        elif name == "log_min_duration_statement" and value == "0":
            text = "log_min_duration_statement is 0: it logs every job, and what jobs hold"
            yield warning(text, _set(name, "'1s'", reset), subject=name)
        elif name == "synchronous_commit" and value == "remote_apply":
            yield info(
                "synchronous_commit is remote_apply: each commit waits for a standby to replay it",
                _set(name, "on", reset),
                subject=name,
            )
        elif name == "commit_delay" and value != "0":
            yield info(f"commit_delay is {value} µs", _set(name, "0", reset), subject=name)
        elif name == "max_wal_size" and int(value) < 512:
            text = f"max_wal_size is {value} MB: a busy queue makes checkpoints all the time"
            yield info(text, _set(name, "'2GB'", reset), subject=name)


@check(SERVER, fine="")
def notifications(rows: Sequence[Row], here: Circumstances) -> Iterator[Verdict]:
    """Is somebody not reading them? Full, it makes commits fail."""
    usage, pid, user, application, listens, seconds = rows[0]
    figures = {"usage": usage, "pid": pid, "seconds": seconds}
    fix = "SELECT pid, usename, xact_start FROM pg_stat_activity ORDER BY xact_start LIMIT 5;"
    holder = "a session that is not known"
    if pid is not None:
        fix = f"SELECT pg_terminate_backend({pid});"
        holder = f"session {pid} ({application or 'no application name'}, {user})"
    if usage >= 0.01:
        level = critical if usage >= 0.5 else warning
        said = f"the queue is {usage:.0%} full, held by {holder}"
        yield level(said, fix, **figures)
    elif listens and seconds >= LONG_LISTEN:
        text = f"{holder} listens, and is in a transaction since {length(seconds)}"
        yield warning(f"{text}: nothing can be thrown away", fix, **figures)
    else:
        yield ok(f"the queue is {usage:.0%} full", usage=usage)


def _clock(here: Circumstances) -> Operation[list[Row]]:
    """How far this machine's clock is ahead, and how wrong that may be: of several round trips the
    shortest."""
    best: Row | None = None
    for _ in range(ROUND_TRIPS):
        before, started = time.time(), time.monotonic()
        rows = yield from query("check_clock")
        took = time.monotonic() - started
        if best is None or took / 2 < best[1]:
            best = (before + took / 2 - rows[0][0], took / 2)
    return [best] if best else []


@check(SERVER, fine="", ask=_clock)
def clock(rows: Sequence[Row], here: Circumstances) -> Iterator[Verdict]:
    """This machine's, against the server's. Leases go by the server's alone; moments that the
    application names go by its own."""
    ahead, error = rows[0]
    figures = {"ahead": ahead, "error": error}
    if abs(ahead) - error >= SKEW:
        side = "ahead of" if ahead > 0 else "behind"
        yield warning(
            f"this machine is {abs(ahead):.1f} s {side} the server: a run_at it names is off",
            "timedatectl set-ntp true  # on whichever of the two is wrong",
            **figures,
        )
    else:
        yield ok(f"this machine and the server agree to {abs(ahead) + error:.3f} s", **figures)


@check(SERVER, fine="")
def tls(rows: Sequence[Row], here: Circumstances) -> Iterator[Verdict]:
    """This connection's."""
    if here.is_local:
        yield ok("not needed: the connection stays within this machine")
    elif not here.is_encrypted:
        text = f"the connection to {here.host} is in the clear: whoever is between reads all"
        yield critical(text, "unset PGQUEUE_REQUIRE_TLS  # and sslmode=verify-full in the DSN")
    elif here.sslmode != "verify-full":
        yield warning(
            f"whose server {here.host} is, is not verified (sslmode={here.sslmode or 'prefer'})",
            "add to the DSN: sslmode=verify-full sslrootcert=system  # or the file of your CA",
        )
    else:
        yield ok(f"{rows[0][1] or 'TLS'}, and the server is who it says")


@check(SERVER, fine="none is between")
def pooler(rows: Sequence[Row], here: Circumstances) -> Iterator[Verdict]:
    """One between, through which nobody hears a notification?"""
    living, deaf = rows[0]
    fix = "export PGQUEUE_LISTEN_DSN=postgresql://...  # a direct connection, for the workers"
    if deaf:
        text = f"{deaf} of {living} workers hear no notification, and look once a second"
        yield warning(text, fix, deaf=deaf, workers=living)
    elif here.is_pooled:
        yield info("this connection goes through a transaction pooler", fix)
