"""Where the peers' jobs are kept: a fresh database for each, or a Redis that is emptied."""

import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import psycopg

from bench.usage import Usage, cpu_seconds, usage
from bench.waiting import until

DATABASE = "bench_peer"


class Store(Protocol):
    """What a round needs to know of the place where jobs are kept."""

    dsn: str

    def empty(self) -> None: ...

    def is_done(self) -> bool: ...

    def settle(self) -> None: ...

    def usage(self, pids: list[int]) -> Usage: ...


class PostgresStore:
    """A database of its own, made anew for every round."""

    def __init__(self, server: str, left: str) -> None:
        self._server = server
        self._left = left
        self.dsn = urlsplit(server)._replace(path=f"/{DATABASE}").geturl()

    def empty(self) -> None:
        with psycopg.connect(self._server, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
            connection.execute(f"CREATE DATABASE {DATABASE}")

    def is_done(self) -> bool:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            row = connection.execute(f"SELECT {self._left}").fetchone()
        return row is not None and not row[0]

    def settle(self) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute("ANALYZE")
            connection.execute("CHECKPOINT")

    def usage(self, pids: list[int]) -> Usage:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            return usage(connection, pids)


class RedisStore:
    """A Redis of the bench's own, as durable as its append-only file, written every second, is."""

    def __init__(self, pid: int, port: int) -> None:
        self._pid = pid
        self._port = port
        self.dsn = f"redis://127.0.0.1:{port}/0"

    def empty(self) -> None:
        self.ask("FLUSHALL")

    def is_done(self) -> bool:
        return self.ask("LLEN celery") == ":0" and self.ask("HLEN unacked") == ":0"

    def settle(self) -> None:
        pass

    def usage(self, pids: list[int]) -> Usage:
        return Usage(None, cpu_seconds([self._pid]), cpu_seconds(pids))

    def ask(self, command: str) -> str:
        with socket.create_connection(("127.0.0.1", self._port), timeout=10) as connection:
            connection.sendall(f"{command}\r\n".encode())
            return connection.makefile().readline().strip()


@contextmanager
def redis() -> Iterator[RedisStore]:
    """Run a redis-server until the ``with`` ends."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as directory:
        words = ["--port", str(port), "--bind", "127.0.0.1", "--dir", directory, "--save", ""]
        words += ["--appendonly", "yes", "--appendfsync", "everysec"]
        with Path(directory, "log").open("wb") as log:
            server = subprocess.Popen(["redis-server", *words], stdout=log, stderr=log)
        try:
            store = RedisStore(server.pid, port)
            until(lambda: _answers(store), "redis-server to start", within=20)
            yield store
        finally:
            server.terminate()
            server.wait()


def _answers(store: RedisStore) -> bool:
    try:
        return store.ask("PING") == "+PONG"
    except OSError:
        return False
