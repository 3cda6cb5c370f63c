"""The one connection through which a waiter sees the database."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from psycopg import Connection

from pgqueue.storage.connect import connect, deadline, is_pooled
from pgqueue.storage.drivers import run
from pgqueue.storage.operation import Operation
from pgqueue.storage.waiting import (
    RUNG,
    BatchReading,
    Reading,
    hold_bell,
    read_batches,
    read_status,
    release_bell,
)

R = TypeVar("R")

_ANSWER_WITHIN = 10.0
_AT_ONCE = 1000


class Line:
    """Listens, holds the bell while somebody waits, and reads. Used by one thread.

    Behind a transaction pooler it only reads: LISTEN and session locks would be anybody's.
    """

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection: Connection[Any] | None = None
        self._holds_bell = False

    @property
    def is_open(self) -> bool:
        return self._connection is not None and not self._connection.closed

    def fileno(self) -> int:
        assert self._connection is not None
        return self._connection.fileno()

    def open(self) -> None:
        """Connect and listen."""
        self.drop()
        self._connection = connect(self._dsn, "waiter")
        if not is_pooled(self._connection):
            with deadline(self._connection, _ANSWER_WITHIN):
                self._connection.execute(f"LISTEN {RUNG}")

    def hold_bell(self) -> bool:
        """Hold the bell; return whether that is new, so that finishes before it rang nobody."""
        assert self._connection is not None
        if self._holds_bell or is_pooled(self._connection):
            return False
        with deadline(self._connection, _ANSWER_WITHIN):
            self._holds_bell = run(self._connection, hold_bell())
        return self._holds_bell

    @property
    def is_told(self) -> bool:
        """Whether finishes ring. If not, there is only looking."""
        return self._holds_bell

    def release_bell(self) -> None:
        """Let go of the bell, if it is held."""
        if self._holds_bell:
            assert self._connection is not None
            self._holds_bell = False
            with deadline(self._connection, _ANSWER_WITHIN):
                run(self._connection, release_bell())

    def read(self, ids: Sequence[int]) -> dict[int, Reading]:
        """Return those jobs of *ids* that are in a table."""
        return self._read(ids, read_status)

    def read_batches(self, ids: Sequence[int]) -> dict[int, BatchReading]:
        """Return those batches of *ids* that there are."""
        return self._read(ids, read_batches)

    def _read(
        self, ids: Sequence[int], reading: Callable[[Sequence[int]], Operation[dict[int, R]]]
    ) -> dict[int, R]:
        assert self._connection is not None
        found: dict[int, R] = {}
        for first in range(0, len(ids), _AT_ONCE):
            with deadline(self._connection, _ANSWER_WITHIN):
                found |= run(self._connection, reading(ids[first : first + _AT_ONCE]))
        return found

    def was_rung(self) -> bool:
        """Whether a job ended since this was last asked."""
        assert self._connection is not None
        return bool(list(self._connection.notifies(timeout=0)))

    def drop(self) -> None:
        """Disconnect: what the server held for this session is gone with it."""
        self._holds_bell = False
        if self._connection is not None:
            self._connection.close()
            self._connection = None
