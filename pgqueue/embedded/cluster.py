"""One PostgreSQL cluster in a home: how it is created, started and reached."""

import os
import shutil
import sys
import threading
from collections.abc import Mapping
from urllib.parse import quote

import psycopg

from pgqueue.embedded.account import Account
from pgqueue.embedded.binaries import Binaries
from pgqueue.embedded.errors import EmbeddedPostgresError
from pgqueue.embedded.home import Home

USER = "postgres"
PORT = 5432  # names the socket's file; nothing listens on the network


class Cluster:
    """The data directory and the private socket directory of a server, and its command line."""

    def __init__(self, home: Home, account: Account, binaries: Binaries) -> None:
        self.account = account
        self.binaries = binaries
        self.home = home
        self.data = home.path / "data"
        self.log = home.path / "server.log"
        self._socket_home = home if home.fits_socket() else Home.throw_away(account)
        self.sockets = self._socket_home.path / "socket"
        self.sockets.mkdir(exist_ok=True)
        account.give(self.sockets)

    def create(self, *, durable: bool) -> None:
        """Run initdb unless there is a cluster already. *durable*: wait until it is on the disk."""
        version = self.data / "PG_VERSION"
        if version.exists():
            self._check_version(version.read_text().strip())
            return
        # Under another name until it is whole: an initdb that is killed leaves half a cluster.
        unfinished = self.home.path / "data.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        self.account.give(unfinished)
        answer = self.account.run(
            self.binaries.directory / "initdb",
            *("-D", str(unfinished), "-U", USER, "--auth=trust", "--encoding=UTF8", "--locale=C"),
            *(() if durable else ("--no-sync",)),
        )
        if answer.returncode != 0:
            raise EmbeddedPostgresError(
                f"initdb of {self.binaries.directory} failed: {answer.stderr.strip()}"
            )
        unfinished.rename(self.data)

    def server_command(self, settings: Mapping[str, str]) -> list[str]:
        """The command that is the server, reachable through its private socket only.

        On Linux the kernel stops the server with its owner, if the main thread starts it: the
        kernel watches the starting thread, and other threads end before their process does.
        """
        sockets = str(self.sockets).replace('"', '""')
        fixed = {
            "listen_addresses": "",
            "port": str(PORT),
            "unix_socket_directories": f'"{sockets}"',
            "unix_socket_permissions": "0700",
            "logging_collector": "off",
        }
        options = [
            part
            for name, value in {**settings, **fixed}.items()
            for part in ("-c", f"{name}={value}")
        ]
        return self.account.command(
            self.binaries.directory / "postgres",
            "-D",
            str(self.data),
            *options,
            tied=dies_with_us(),
        )

    def stop_command(self) -> list[str]:
        """The command that stops the server, whoever started it, and does nothing if none runs."""
        return self.account.command(
            self.binaries.directory / "pg_ctl", "stop", "-D", str(self.data), "-m", "fast", "-s"
        )

    def is_ready(self) -> bool:
        """Whether the server takes connections."""
        try:
            psycopg.connect(self.dsn("postgres"), connect_timeout=10).close()
        except psycopg.OperationalError:
            return False
        return True

    def dsn(self, database: str) -> str:
        """A libpq URI of *database*; but for the driver's name a SQLAlchemy URL as well."""
        host = quote(os.fsencode(self.sockets), safe="")
        return f"postgresql://{USER}@/{quote(database, safe='')}?host={host}&port={PORT}"

    def close(self) -> None:
        """Let go of the directories; throw-away ones are removed."""
        if self._socket_home is not self.home:
            self._socket_home.close()
        self.home.close()

    def last_words(self) -> str:
        """The end of the server's log."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(lines[-5:]) or "it wrote nothing"

    def _check_version(self, found: str) -> None:
        if found != str(self.binaries.major):
            raise EmbeddedPostgresError(
                f"{self.data} was made by PostgreSQL {found}, and {self.binaries.directory} is "
                f"PostgreSQL {self.binaries.major}; set PGQUEUE_PG_BIN to the programs of version "
                f"{found}, or remove {self.home.path} to begin anew"
            )


def dies_with_us() -> bool:
    """Whether the kernel can be told to stop a child of this thread when this process ends."""
    return sys.platform == "linux" and threading.current_thread() is threading.main_thread()
