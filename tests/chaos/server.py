"""The PostgreSQL of a run, which loses nothing that it has committed, and a pooler before it."""

import contextlib
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Self
from urllib.parse import quote

import psycopg

from tests.postgres import SETTINGS, Server, eventually

DURABLE = {
    **SETTINGS,
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "max_connections": "120",
}


class DurableServer(Server):
    """Survives whatever is done to its processes."""

    def get_server_commandline(self) -> list[str]:
        return self.cluster.server_command(DURABLE)

    def restart(self, *, immediate: bool) -> None:
        """Stop it, with a shutdown checkpoint or as a power cut would, and start it again."""
        if immediate:
            self.crash()
        else:
            self.child_process.send_signal(signal.SIGINT)
            self.child_process.wait()
            self.child_process = None
        self.start()

    def await_recovery(self) -> None:
        """Wait until it takes connections again by itself."""
        eventually(self.is_server_available, within=60)

    def revive(self) -> None:
        """Wait until it takes connections again, and start it if it has given up."""
        eventually(lambda: self.is_server_available() or self._start_again(), within=90)

    def _start_again(self) -> bool:
        if self.is_alive():
            return False
        self.child_process = None
        self.start()
        return True


class Pooler:
    """pgbouncer in transaction mode before a server."""

    def __init__(self, server: Server, home: Path) -> None:
        self._account = server.cluster.account
        self._program = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin")
        self._ini = home / "pgbouncer.ini"
        self._log = home / "pgbouncer.log"
        self._port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._ini.write_text(
            "[databases]\n"
            f"* = host={server.cluster.sockets} port=5432 user=postgres\n"
            "[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {self._port}\nunix_socket_dir =\n"
            "auth_type = any\nadmin_users = postgres\npool_mode = transaction\n"
            "default_pool_size = 20\nmax_client_conn = 200\nserver_login_retry = 1\n"
            "ignore_startup_parameters = extra_float_digits,options\n"
        )
        self._ini.chmod(0o644)

    @staticmethod
    def is_installed() -> bool:
        return shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin") is not None

    def dsn(self, database: str) -> str:
        return (
            f"postgresql://postgres@127.0.0.1:{self._port}/{quote(database, safe='')}"
            "?sslmode=disable"
        )

    def start(self) -> None:
        assert self._program is not None
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                self._account.command(self._program, str(self._ini)),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        eventually(self._answers, within=20)

    def stop(self) -> None:
        """At once, as a restart does that has no patience."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def tell(self, command: str) -> None:
        """Give *command* on the console."""
        with psycopg.connect(self.dsn("pgbouncer"), autocommit=True) as console:
            console.pgconn.exec_(command.encode())

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 1):
            return True
        return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
