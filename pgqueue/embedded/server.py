"""``EmbeddedPostgres``: a PostgreSQL server that lives as long as its owner."""

import atexit
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Self

import psycopg
from psycopg import sql

from pgqueue.embedded.account import server_account
from pgqueue.embedded.binaries import find_binaries
from pgqueue.embedded.cluster import Cluster, dies_with_us
from pgqueue.embedded.errors import EmbeddedPostgresError
from pgqueue.embedded.home import Home, default_directory, live_socket

__all__ = ["EmbeddedPostgres", "default_directory", "exit_on_sigterm"]

DATABASE = "pgqueue"
START_WITHIN = 60.0  # seconds; recovery of a killed server's database is part of it
# How a server is asked to stop, and how many seconds it gets: fast, immediate, killed.
STOPS = ((signal.SIGINT, 10.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, None))


class EmbeddedPostgres:
    """A PostgreSQL server of one's own, reachable through a private socket only.

    Without *directory* everything is in a throw-away directory, removed at the end. A given
    *directory* is made if missing, and kept: the next server in it finds its data again.
    *settings* are server settings (``{"fsync": "off"}``) on top of PostgreSQL's defaults.

        with EmbeddedPostgres() as server:
            psycopg.connect(server.dsn)

    The server ends with its owner: at the end of the ``with``, at exit, and also when the owner is
    killed. No signal handler is installed; see exit_on_sigterm().
    """

    def __init__(
        self, directory: Path | None = None, *, settings: Mapping[str, str] | None = None
    ) -> None:
        self._directory = directory
        self._settings = dict(settings or {})
        self._owner = os.getpid()
        self._cluster: Cluster | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    def dsn(self) -> str:
        """A libpq URI of the database ``pgqueue``."""
        return self._started().dsn(DATABASE)

    @property
    def url(self) -> str:
        """The same for SQLAlchemy, with psycopg as its driver."""
        return self.dsn.replace("postgresql://", "postgresql+psycopg://", 1)

    @property
    def version(self) -> int:
        """The server's major version."""
        return self._started().binaries.major

    def start(self) -> Self:
        """Start the server, if it is not running, and wait until it takes connections.

        After stop() the same data is served again, under the same dsn.
        """
        if self._process is not None and self._process.poll() is None:
            return self
        atexit.register(self.close)
        try:
            cluster = self._cluster or self._make_cluster()
            self._launch(cluster)
            self._await_ready(cluster)
            _create_database(cluster)
        except BaseException:
            self.close()
            raise
        return self

    def stop(self) -> None:
        """Stop the server and keep its data for another start()."""
        process, self._process = self._process, None
        if process is None or os.getpid() != self._owner:  # a fork's copy of us is not the owner
            return
        for how, seconds in STOPS:
            process.send_signal(how)
            try:
                process.wait(seconds)
                break
            except subprocess.TimeoutExpired:
                continue
            except BaseException:  # Ctrl-C while we wait: the next stop() goes on from here
                self._process = process
                raise
        self._dismiss_guard()

    def close(self) -> None:
        """Stop the server; a throw-away directory is removed."""
        if os.getpid() != self._owner:
            return
        self.stop()
        cluster, self._cluster = self._cluster, None
        if cluster is not None:
            cluster.close()
        atexit.unregister(self.close)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _started(self) -> Cluster:
        if self._cluster is None:
            raise EmbeddedPostgresError("the server has not been started; call start() first")
        return self._cluster

    def _make_cluster(self) -> Cluster:
        account = server_account()
        binaries = find_binaries(account)
        home = Home.kept(self._directory, account) if self._directory else Home.throw_away(account)
        self._cluster = Cluster(home, account, binaries)
        self._cluster.create(durable=not home.temporary)
        return self._cluster

    def _launch(self, cluster: Cluster) -> None:
        if live_socket(
            cluster.data
        ):  # of an owner that was killed: we hold the lock, so it is ours
            subprocess.run(cluster.stop_command(), check=False, capture_output=True)
        tied = dies_with_us()
        with cluster.log.open("ab") as log:
            self._process = subprocess.Popen(
                cluster.server_command(self._settings),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        if not tied:
            # Where the kernel does not do it, a shell waits for the end of our end of its pipe.
            self._guard = subprocess.Popen(
                ["/bin/sh", "-c", 'read _; exec "$@"', "sh", *cluster.stop_command()],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )

    def _await_ready(self, cluster: Cluster) -> None:
        process = self._process
        assert process is not None
        deadline = time.monotonic() + START_WITHIN
        while not cluster.is_ready():
            if process.poll() is not None:
                raise EmbeddedPostgresError(
                    f"the PostgreSQL server did not start: {cluster.last_words()}"
                )
            if time.monotonic() > deadline:
                raise EmbeddedPostgresError(
                    f"the PostgreSQL server was not ready within {START_WITHIN:.0f} s: "
                    f"{cluster.last_words()}"
                )
            time.sleep(0.02)

    def _dismiss_guard(self) -> None:
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.kill()
            guard.communicate()


def exit_on_sigterm() -> None:
    """For programs, not for libraries: make SIGTERM a SystemExit, so that cleaning up is done.

    Without it the server is stopped all the same, but its throw-away directory stays until the
    next server is started.
    """

    def leave(signum: int, frame: FrameType | None) -> None:
        sys.exit(128 + signum)

    signal.signal(signal.SIGTERM, leave)


def _create_database(cluster: Cluster) -> None:
    with psycopg.connect(cluster.dsn("postgres"), autocommit=True) as connection:
        known = connection.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE])
        if known.rowcount == 0:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
