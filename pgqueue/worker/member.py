"""One of the processes of ``--processes N``: a worker whose ears are its parent's.

What it is to run comes over a socket (never as an argument: a DSN may hold a password), then, line
by line, what the parent hears."""

import asyncio
import json
import logging
import os
import pickle
import signal
import socket
import sys
from typing import Any, NamedTuple

from pgqueue.errors import PgqueueError
from pgqueue.worker.exits import condemn
from pgqueue.worker.listener import Ears
from pgqueue.worker.logs import configure
from pgqueue.worker.running import run_one
from pgqueue.worker.settings import Settings


class Order(NamedTuple):
    """What a member is to run. Both ends are one program of one user, hence a pickle."""

    tasks_path: str
    dsn: str
    settings: Settings
    sys_path: list[str]
    log_format: str
    log_level: int


class ParentsEars(Ears):
    """Hears what the parent process passes on; when the parent is gone, the worker stops."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__()
        self._connection = connection

    async def run(self) -> None:
        reader, writer = await asyncio.open_connection(sock=self._connection)
        try:
            await self._listen(reader, writer)
        finally:
            self._answer(writer, 0)  # the last word: the parent goes on counting from it

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            kind, value = json.loads(line)
            if kind == "ring":
                self.on_ring(value)
            elif kind == "cancel":
                self.on_cancel(value)
            elif kind == "figures":
                self._answer(writer, value)
            else:
                self.is_up = value
        logging.getLogger("pgqueue.worker").warning("the parent process is gone; stopping")
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.Event().wait()

    def _answer(self, writer: asyncio.StreamWriter, question: int) -> None:
        """Tell the parent this worker's figures, if they are kept. *question*: its number."""
        if self.on_figures is not None:
            answer = [question, self.on_figures().to_json()]
            writer.write(json.dumps(answer).encode() + b"\n")


def receive_order(connection: socket.socket) -> Order:
    """Read the order, which comes first, with its length before it."""
    length = int.from_bytes(_exactly(connection, 4))
    order: Any = pickle.loads(_exactly(connection, length))
    assert isinstance(order, Order)
    return order


def send_order(connection: socket.socket, order: Order) -> None:
    """Send the order."""
    body = pickle.dumps(order)
    connection.sendall(len(body).to_bytes(4) + body)


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            raise SystemExit("the parent process is gone")
        data += piece
    return data


def main() -> int:
    """Run what the socket FD, the only argument, says; return the exit code."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    order = receive_order(connection)
    sys.path[:] = order.sys_path
    configure(order.log_format, order.log_level)
    try:
        return run_one(order.tasks_path, order.dsn, order.settings, ears=ParentsEars(connection))
    except PgqueueError as error:  # code that was changed meanwhile cannot be loaded any more
        return condemn(error, "start", order.dsn)
