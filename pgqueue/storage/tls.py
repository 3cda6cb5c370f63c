"""No connection of ours goes over a network in the clear, unless a person has said so.

libpq's default, ``sslmode=prefer``, takes TLS if the server offers it, and hands the password to
whoever says that he does not. So to a host that is not this machine ``require`` is demanded before
anything is sent, and what came of it is looked at afterwards: a service file or an environment may
lead elsewhere than the DSN says. Only ``verify-full`` also says *whose* server it is: anything less
is warned of, once.
"""

import ipaddress
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgqueue.errors import InsecureConnection

log = logging.getLogger("pgqueue")

VARIABLE = "PGQUEUE_REQUIRE_TLS"
_TOO_WEAK = ("", "allow", "prefer")
_REFUSALS = ("does not support SSL", "SSL was required", "SSL support is not compiled in")
_warned: set[str] = set()


def is_required() -> bool:
    """Whether TLS is demanded of other machines: unless PGQUEUE_REQUIRE_TLS says 0."""
    return os.environ.get(VARIABLE, "1").strip().lower() not in ("0", "false", "no", "off")


def demands(given: Mapping[str, Any]) -> dict[str, str]:
    """Return what to add to the parameters *given* by a DSN, so that nothing is sent in the clear.

    Raises :class:`InsecureConnection` if they, or libpq's environment, ask for just that.
    """
    known = {**_defaults(), **given}
    hosts = str(known.get("hostaddr") or known.get("host") or "").split(",")
    remote = [host for host in hosts if not is_local(host)]
    if not remote or not is_required():
        return {}
    mode = str(known.get("sslmode") or "")
    if mode == "disable":
        raise InsecureConnection(remote[0])
    return {"sslmode": "require"} if mode in _TOO_WEAK else {}


def require(connection: "psycopg.Connection[Any] | psycopg.AsyncConnection[Any]") -> None:
    """Refuse a connection that came about in the clear to another machine; warn of one that does
    not know whose server it reached. Raises :class:`InsecureConnection`."""
    info = connection.info
    host = info.hostaddr or info.host
    if is_local(host) or not is_required():
        return
    if not connection.pgconn.ssl_in_use:
        raise InsecureConnection(info.host or host)
    mode = info.get_parameters().get("sslmode", "")
    if mode != "verify-full" and info.host not in _warned:
        _warned.add(info.host)
        log.warning(
            "the connection to %s is encrypted, but whose server it is was not verified "
            "(sslmode=%s); add sslmode=verify-full and sslrootcert=FILE (or system) to the DSN",
            info.host,
            mode,
        )


@contextmanager
def explained() -> Iterator[None]:
    """Say it in our words when a server has no TLS to offer."""
    try:
        yield
    except psycopg.OperationalError as error:
        if any(refusal in str(error) for refusal in _REFUSALS):
            raise InsecureConnection(_host_in(error)) from error
        raise


def connect(dsn: str, **options: Any) -> psycopg.Connection[Any]:
    """Open a plain connection that keeps to this."""
    conninfo = make_conninfo(dsn, **demands(conninfo_to_dict(dsn)))
    with explained():
        connection = psycopg.connect(conninfo, **options)
    try:
        require(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def is_local(host: str) -> bool:
    """Whether *host* is this machine: a socket's directory, ``localhost``, a loopback address."""
    if not host or host.startswith(("/", "@")) or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _defaults() -> dict[str, str]:
    """What libpq takes from its environment, and from a service named there."""
    return {
        option.keyword.decode(): option.val.decode()
        for option in pq.Conninfo.get_defaults()
        if option.val
    }


def _host_in(error: psycopg.OperationalError) -> str:
    connection = error.pgconn
    host = connection.host if connection is not None else b""
    return host.decode() or "the server"
