"""Does harm to its own process when it passes the point that it was told to wait for."""

import asyncio
import json
import os
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, get_args

import psycopg

from tests.chaos.logbook import Logbook, now

ORDERS = "PGQUEUE_TEST_STRIKES"
"""The environment variable with the strikes, as JSON; ``[]``: only take down what is passed."""
HOME = "PGQUEUE_TEST_STRIKES_HOME"
"""The environment variable with the directory of the logs."""

STRIKES = "strikes"
"""The name of the log of what was done."""

Action = Literal["kill", "stop", "hang", "cut", "error", "bug"]
"""``kill``: SIGKILL. ``stop``: SIGSTOP, until somebody sends SIGCONT. ``hang``: this step alone
stands still. ``cut``: the connection's socket is shut down. ``error``: what psycopg raises when a
connection breaks, ``bug``: what nobody foresaw."""
ACTIONS: tuple[Action, ...] = get_args(Action)
HANGS = 4.0
"""Seconds that a hanging step takes: two leases."""


class Strike(NamedTuple):
    """One harm: at which point (``pump/claim_jobs:before``), at its which passage, and what."""

    point: str
    action: Action
    passage: int = 1

    def __str__(self) -> str:
        nth = "" if self.passage == 1 else f" #{self.passage}"
        return f"{self.point}{nth} {self.action}"


class Saboteur:
    """Counts every passage, writes it down, and strikes when the next order says so.

    The orders are carried out one after the other: the second is looked at once the first was. What
    it wrote is there, whatever becomes of the process in the next instruction.
    """

    def __init__(self, orders: Sequence[Strike], home: Path) -> None:
        self._orders = list(orders)
        self._passed: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._trace = Logbook(home, f"trace-{os.getpid()}", durable=False)
        self._strikes = Logbook(home, STRIKES, durable=False)

    @classmethod
    def of_the_environment(cls) -> Self:
        orders = [Strike(*order) for order in json.loads(os.environ[ORDERS])]
        return cls(orders, Path(os.environ[HOME]))

    def announce(self) -> None:
        """Say it so that nobody can overlook it."""
        orders = ", ".join(map(str, self._orders)) or "only writing down what is passed"
        print(f"FAILPOINTS ARE ARMED IN THIS PROCESS: {orders}", file=sys.stderr, flush=True)

    def passes(self, point: str, connection: Any) -> None:
        """This point is passed: do what was ordered here, if anything was."""
        strike = self._next(point)
        if strike is not None:
            if strike.action == "hang":
                time.sleep(HANGS)
            else:
                _do(strike, connection)

    async def passes_async(self, point: str, connection: Any) -> None:
        strike = self._next(point)
        if strike is not None:
            if strike.action == "hang":
                await asyncio.sleep(HANGS)
            else:
                _do(strike, connection)

    def _next(self, point: str) -> Strike | None:
        with self._lock:
            self._passed[point] += 1
            passage = self._passed[point]
            self._trace.write("passed", point=point, passage=passage, at=now())
            if not self._orders or self._orders[0].point != point:
                return None
            # A passage that an earlier strike let go by is not waited for in vain.
            if passage < self._orders[0].passage:
                return None
            strike = self._orders.pop(0)
            self._strikes.write("strike", point=point, action=strike.action, at=now())
            return strike


def _do(strike: Strike, connection: Any) -> None:
    if strike.action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif strike.action == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif strike.action == "cut":
        cut(connection)
    elif strike.action == "error":
        raise psycopg.OperationalError(f"struck at {strike.point}")
    else:
        raise RuntimeError(f"struck at {strike.point}")


def cut(connection: Any) -> None:
    """Shut the line of *connection* down in both directions; the server sees it end. There is none
    before it is made."""
    if connection is None:
        return
    with (
        suppress(OSError, psycopg.Error),
        socket.socket(fileno=os.dup(connection.fileno())) as line,
    ):
        line.shutdown(socket.SHUT_RDWR)
