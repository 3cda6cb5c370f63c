"""What a database error means for a worker: one table, by SQLSTATE."""

from enum import Enum

import psycopg


class Remedy(Enum):
    """What a worker does about an error."""

    RECONNECT = "outlive it: reconnect and try again, with jitter"
    REPREPARE = "drop the prepared statements and try again, once"
    PARTITION = "make partitions and try again, once"
    BISECT = "a value is refused: find the outcome it belongs to"
    CONFIGURE = "a person must act: schema or grants"
    BUG = "nothing known: release what is held and stop"


_BY_CODE = {
    "25006": Remedy.RECONNECT,  # read-only transaction: this is no longer the primary
    "25P03": Remedy.RECONNECT,  # idle-in-transaction timeout
    "25P04": Remedy.RECONNECT,  # transaction timeout
    "55P03": Remedy.RECONNECT,  # lock not available
    "0A000": Remedy.REPREPARE,  # cached plan must not change result type
    "26000": Remedy.REPREPARE,  # prepared statement does not exist
    "42P05": Remedy.REPREPARE,  # prepared statement already exists
}

_BY_CLASS = {
    "08": Remedy.RECONNECT,  # connection
    "53": Remedy.RECONNECT,  # insufficient resources
    "57": Remedy.RECONNECT,  # operator intervention, query cancelled
    "58": Remedy.RECONNECT,  # system error
    "40": Remedy.RECONNECT,  # serialization, deadlock
    "22": Remedy.BISECT,  # data
    "23": Remedy.BISECT,  # constraint
    "54": Remedy.BISECT,  # too large, too deep
    "42": Remedy.CONFIGURE,  # names, grants
    "28": Remedy.CONFIGURE,  # authorization
    "3D": Remedy.CONFIGURE,  # no such database
    "3F": Remedy.CONFIGURE,  # no such schema
}


def remedy(error: BaseException) -> Remedy:
    """Return what to do about *error*, which a statement or a connection attempt raised."""
    if not isinstance(error, psycopg.Error):
        if isinstance(error, UnicodeError):
            return Remedy.BISECT  # text that cannot be sent: half a surrogate pair
        # A deadline of our own, or the socket: the connection is not to be trusted any more.
        return Remedy.RECONNECT if isinstance(error, (TimeoutError, OSError)) else Remedy.BUG
    code = error.sqlstate
    if code is None and isinstance(error, psycopg.DataError):
        return Remedy.BISECT  # psycopg itself refuses to send it: a NUL
    if code is None:
        # libpq and psycopg report a broken connection without a code; what else has none is a bug.
        broken = isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))
        return Remedy.RECONNECT if broken else Remedy.BUG
    if code == "23514" and "no partition" in str(error):
        return Remedy.PARTITION
    return _BY_CODE.get(code) or _BY_CLASS.get(code[:2], Remedy.BUG)


def is_refusal(error: BaseException) -> bool:
    """Whether the answer will be the same the next time: a wrong password, database or role, a DSN
    that makes no sense. libpq gives no SQLSTATE for a connection that was not made, only words."""
    return isinstance(error, psycopg.OperationalError) and any(
        words in str(error)
        for words in (
            "authentication failed",
            "does not exist",
            "no pg_hba.conf entry",
            "no password",
            "invalid integer value",
            "invalid port number",
            "invalid sslmode value",
            "invalid value for parameter",
        )
    )
