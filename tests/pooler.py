"""A real pgbouncer in transaction mode before the server, where this machine has one."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg.conninfo import conninfo_to_dict

from pgqueue.embedded.account import server_account
from tests.postgres import eventually

PROGRAM = os.environ.get("PGQUEUE_PGBOUNCER") or shutil.which("pgbouncer")

CONFIGURATION = """
[databases]
* = host={host} port={port} user={user}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own_port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 3
ignore_startup_parameters = extra_float_digits
"""


@contextmanager
def pooled(dsn: str) -> Iterator[str]:
    """The same database by way of pgbouncer: all clients share three connections."""
    with tempfile.TemporaryDirectory() as home:
        Path(home).chmod(0o755)  # as root it runs as somebody else
        yield from _started(dsn, Path(home))


def _started(dsn: str, home: Path) -> Iterator[str]:
    given = conninfo_to_dict(dsn)
    with socket.create_server(("127.0.0.1", 0)) as free:
        own_port = free.getsockname()[1]
    file = home / "pgbouncer.ini"
    file.write_text(
        CONFIGURATION.format(
            host=given["host"], port=given["port"], user=given["user"], own_port=own_port
        )
    )
    account = server_account()
    file.chmod(0o644)
    user = () if account.uid is None else ("-u", account.name)
    with (home / "pgbouncer.log").open("wb") as log:
        process = subprocess.Popen(
            [str(PROGRAM), *user, str(file)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    by_pooler = f"postgresql:///{quote(str(given['dbname']))}?host=127.0.0.1&port={own_port}"
    by_pooler += f"&user={quote(str(given['user']))}"
    try:
        eventually(lambda: answers(by_pooler))
        yield by_pooler
    finally:
        process.terminate()
        process.wait()


def answers(dsn: str) -> bool:
    with suppress(psycopg.OperationalError), psycopg.connect(dsn):
        return True
    return False
