"""A proxy before the server that loses a COMMIT, or the answer to it, or falls silent, as a failing
network does."""

import contextlib
import socket
import threading
from types import TracebackType
from typing import Literal, Self
from urllib.parse import quote

from psycopg.conninfo import conninfo_to_dict

Loss = Literal["request", "answer", "nothing"]
Silence = Literal["never", "after login", "always"]


class LossyProxy:
    """Listens on the loopback. On every connection the first COMMIT is lost (*request*), or is done
    and its *answer* lost: either way the connection is gone."""

    def __init__(self, dsn: str, loss: Loss = "nothing") -> None:
        self._given = conninfo_to_dict(dsn)
        self._loss = loss
        self.silence: Silence = "never"
        """Swallow, and acknowledge, all that is sent: at once, or from the first statement on."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = [self._listener]
        self.swallowed = 0
        """How often something was swallowed."""
        self.lost = 0
        """How many COMMITs were lost, or their answers."""

    @property
    def dsn(self) -> str:
        """The same database, by way of this proxy."""
        host, port = self._listener.getsockname()
        by_proxy = {**self._given, "host": host, "port": port, "sslmode": "disable"}
        return "postgresql:///?" + "&".join(
            f"{name}={quote(str(value), safe='')}" for name, value in by_proxy.items()
        )

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _hang_up(*self._sockets)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = self._connect()
                self._sockets += [client, server]
                Line(self, client, server, self._loss).start()

    def _connect(self) -> socket.socket:
        host, port = str(self._given["host"]), int(self._given.get("port") or 5432)
        if not host.startswith("/"):
            return socket.create_connection((host, port))
        server = socket.socket(socket.AF_UNIX)
        server.connect(f"{host}/.s.PGSQL.{port}")
        return server


class Line:
    """One connection through the proxy: a thread for each direction."""

    def __init__(
        self, proxy: LossyProxy, client: socket.socket, server: socket.socket, loss: Loss
    ) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._loss = loss
        self._cut = False

    def start(self) -> None:
        for pump in (self._ask, self._answer):
            threading.Thread(target=pump, daemon=True).start()

    def _ask(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._client.recv(65536):
                if self._is_silent(data):
                    self._proxy.swallowed += 1
                    continue
                if self._loss != "nothing" and b"COMMIT\0" in data:
                    self._proxy.lost += 1
                    if self._loss == "request":
                        break
                    self._cut = True
                self._server.sendall(data)
        _hang_up(self._client, self._server)

    def _answer(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._server.recv(65536):
                if self._cut:
                    break
                if self._proxy.silence != "always":
                    self._client.sendall(data)
        _hang_up(self._client, self._server)

    def _is_silent(self, asked: bytes) -> bool:
        statement = asked[:1] in (b"P", b"B", b"Q")
        silence = self._proxy.silence
        return silence == "always" or (silence == "after login" and statement)


def _hang_up(*sockets: socket.socket) -> None:
    for each in sockets:
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()
