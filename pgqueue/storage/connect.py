"""The worker's own connections, and the waiter's."""

import asyncio
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import psycopg
from psycopg import AsyncConnection, Connection
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow
from psycopg.waiting import wait_async

from pgqueue.storage import tls

T = TypeVar("T")

CONNECT_TIMEOUT = 10
_INTERVAL = 0.1
"""Seconds after which a wait looks whether its connection was closed meanwhile."""
_KEEPALIVE = {
    # A dead peer is noticed in a minute when idle, in ten seconds when it owes us an answer.
    "connect_timeout": CONNECT_TIMEOUT,
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}

SESSION = """
SELECT
    -- The statistics of a queue lie (a state that was not there at the last ANALYZE is taken for
    -- one row), so the plans are pinned: by primary key and by the partial indexes.
    set_config('enable_seqscan', 'off', %(local)s),
    set_config('enable_hashjoin', 'off', %(local)s),
    set_config('enable_mergejoin', 'off', %(local)s),
    set_config('enable_bitmapscan', 'off', %(local)s),
    set_config('plan_cache_mode', 'force_generic_plan', %(local)s),
    set_config('jit', 'off', %(local)s),
    set_config('default_transaction_isolation', 'read committed', %(local)s),
    set_config('lock_timeout', '1s', %(local)s),
    set_config('statement_timeout', '30s', %(local)s),
    set_config('idle_in_transaction_session_timeout', '30s', %(local)s),
    -- A peer that vanished must not hold this session's locks and bells for hours.
    set_config('tcp_keepalives_idle', '30', %(local)s),
    set_config('tcp_keepalives_interval', '10', %(local)s),
    set_config('tcp_keepalives_count', '3', %(local)s),
    -- An acknowledgement that a crash of the server forgets is none.
    set_config('synchronous_commit', CASE current_setting('synchronous_commit')
        WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, %(local)s)
"""


_BACKEND = "SELECT pg_backend_pid()"


def prepare_conninfo(dsn: str, role: str) -> str:
    """Return *dsn* with keepalives and an application name; what the DSN says itself wins. Ours
    are the encoding, for whatever a job holds must be readable, and TLS where it must be. Raises
    :class:`InsecureConnection`."""
    said = conninfo_to_dict(dsn)
    given = {**_KEEPALIVE, "application_name": f"pgqueue:{role}", **said, **tls.demands(said)}
    return make_conninfo("", **{**given, "client_encoding": "UTF8"})


class OwnConnection(AsyncConnection[TupleRow]):
    """One that is closed at once when a wait on it is cancelled. psycopg would ask the server to
    cancel what it does, and wait for what it says to that; it may be out of reach."""

    async def wait(
        self,
        gen: PQGen[T],
        interval: float = _INTERVAL,
        timeout: float | None = None,  # noqa: ASYNC109  the signature is psycopg's
    ) -> T:
        said = {} if timeout is None else {"timeout": timeout}  # psycopg 3.2 has none
        try:
            return await wait_async(gen, self.pgconn.socket, interval, **said)
        except asyncio.CancelledError:
            self.pgconn.finish()
            raise
        finally:
            with suppress(psycopg.Error):  # what it would do at its end needs the connection
                gen.close()


async def connect_async(dsn: str, role: str) -> AsyncConnection[TupleRow]:
    """Open a connection of the worker's own: autocommit, pinned plans, bounded waits.

    Raises :class:`psycopg.OperationalError` if it cannot be had, :class:`InsecureConnection` if it
    would be without TLS and must not be.
    """
    with tls.explained():
        connection = await OwnConnection.connect(prepare_conninfo(dsn, role), autocommit=True)
    try:
        tls.require(connection)
        cursor = await connection.execute(_BACKEND)
        if not _note_pooler(connection, await cursor.fetchone()):
            await connection.execute(SESSION, {"local": False})
    except BaseException:
        await connection.close()
        raise
    return connection


def connect(dsn: str, role: str) -> Connection[TupleRow]:
    """Open a connection of the worker's own, like :func:`connect_async`."""
    with tls.explained():
        connection = Connection.connect(prepare_conninfo(dsn, role), autocommit=True)
    try:
        tls.require(connection)
        with deadline(connection, CONNECT_TIMEOUT):
            if not _note_pooler(connection, connection.execute(_BACKEND).fetchone()):
                connection.execute(SESSION, {"local": False})
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def deadline(connection: Connection[Any], seconds: float) -> Iterator[None]:
    """Cut a connection that does not answer in time: a peer that acknowledges every packet and says
    nothing would be waited for without end. What runs then raises
    :class:`psycopg.OperationalError`."""
    timer = threading.Timer(seconds, _cut, (connection,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _cut(connection: Connection[Any]) -> None:
    with (
        suppress(OSError, psycopg.Error),
        socket.socket(fileno=os.dup(connection.fileno())) as line,
    ):
        line.shutdown(socket.SHUT_RDWR)


def _note_pooler(connection: "AsyncConnection[Any] | Connection[Any]", answer: Any) -> bool:
    """Adapt to a transaction pooler: the next call may meet another server connection, so nothing
    may be prepared in this one or set for longer than a transaction."""
    pooled = bool(answer[0] != connection.info.backend_pid)
    connection.prepare_threshold = None if pooled else 0
    return pooled


def is_pooled(connection: "AsyncConnection[Any] | Connection[Any]") -> bool:
    """Whether a transaction pooler stands between: no LISTEN and no session locks through it."""
    return connection.prepare_threshold is None


def masked(dsn: str) -> str:
    """Return *dsn* fit for people: host, port, database and user, never the password."""
    try:
        given = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        return "(a DSN that cannot be read)"
    shown = {k: v for k, v in given.items() if k in ("host", "port", "dbname", "user") and v}
    return " ".join(f"{key}={value}" for key, value in shown.items()) or "(libpq's defaults)"
