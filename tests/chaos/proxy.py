"""A network between some of the clients and the server, that can be made to fail."""

import contextlib
import socket
import threading
import time
from enum import Enum
from typing import Literal, Self
from urllib.parse import quote

from psycopg.conninfo import conninfo_to_dict

Way = Literal["ask", "answer"]


class Weather(Enum):
    """How the network does."""

    FAIR = "everything arrives"
    SLOW = "everything arrives late"
    HOLE = "nothing arrives, and nobody is told"
    DEAF = "questions arrive, answers do not"


class Network:
    """Listens on *host*. What is done to it is done to all connections through it."""

    def __init__(self, dsn: str, host: str = "127.0.0.1") -> None:
        self._given = conninfo_to_dict(dsn)
        self._listener = socket.create_server((host, 0))
        self._lines: set[Line] = set()
        self.weather = Weather.FAIR
        self.delay = 0.0
        self.doomed: Way | None = None
        """The next COMMIT is lost, or the answer to it, and its connection with it."""

    @property
    def dsn(self) -> str:
        """The same database, by way of this network."""
        host, port = self._listener.getsockname()
        by_network = {**self._given, "host": host, "port": port, "sslmode": "disable"}
        return "postgresql:///?" + "&".join(
            f"{name}={quote(str(value), safe='')}" for name, value in by_network.items()
        )

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        _hang_up(self._listener)
        self.cut()

    def cut(self) -> int:
        """Cut every connection; return how many there were."""
        lines = list(self._lines)
        for line in lines:
            line.hang_up()
        return len(lines)

    def clear(self) -> None:
        """Fair weather again. A connection that lost bytes is none any more."""
        self.weather = Weather.FAIR
        for line in list(self._lines):
            if line.lost_bytes:
                line.hang_up()

    def forget(self, line: "Line") -> None:
        self._lines.discard(line)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = self._connect()
                except OSError:  # it is down: the client is told at once
                    _hang_up(client)
                    continue
                _watch(client)
                line = Line(self, client, server)
                self._lines.add(line)
                line.start()

    def _connect(self) -> socket.socket:
        server = socket.socket(socket.AF_UNIX)
        try:
            server.connect(f"{self._given['host']}/.s.PGSQL.{self._given.get('port') or 5432}")
        except OSError:
            server.close()
            raise
        return server


def _watch(client: socket.socket) -> None:
    """Notice a client whose last words were lost, as a server does, but sooner."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 25_000)


class Line:
    """One connection through the network: a thread for each direction."""

    def __init__(self, network: Network, client: socket.socket, server: socket.socket) -> None:
        self._network = network
        self._ends = {"ask": (client, server), "answer": (server, client)}
        self.lost_bytes = False
        self._doomed = False

    def start(self) -> None:
        for way in ("ask", "answer"):
            threading.Thread(target=self._carry, args=(way,), daemon=True).start()

    def hang_up(self) -> None:
        _hang_up(*self._ends["ask"])
        self._network.forget(self)

    def _carry(self, way: Way) -> None:
        source, sink = self._ends[way]
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if not self._survives(way, data):
                    break
                if not self.lost_bytes or way == "ask":
                    sink.sendall(data)
        self.hang_up()

    def _survives(self, way: Way, data: bytes) -> bool:
        network = self._network
        if way == "ask" and network.doomed and b"COMMIT\0" in data:
            doomed, network.doomed = network.doomed, None
            if doomed == "ask":
                return False
            self._doomed = True
        elif way == "answer" and self._doomed:
            return False
        if network.weather is Weather.SLOW:
            time.sleep(network.delay)
        while network.weather is Weather.HOLE:
            time.sleep(0.05)
        if network.weather is Weather.DEAF and way == "answer":
            self.lost_bytes = True
        return True


def _hang_up(*sockets: socket.socket) -> None:
    for each in sockets:
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()
