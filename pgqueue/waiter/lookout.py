"""The thread that looks after the jobs and batches everybody in this process waits for."""

import logging
import os
import random
import selectors
import socket
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from pgqueue.errors import SchemaMismatch, WaitFailed
from pgqueue.storage.schema import NEEDED
from pgqueue.storage.sqlstate import Remedy, is_refusal, remedy
from pgqueue.storage.waiting import BatchReading, Reading
from pgqueue.waiter.inbox import Inbox
from pgqueue.waiter.line import Line

log = logging.getLogger("pgqueue.waiter")

AnyInbox = Inbox[Any]

_SOON = 0.05
"""How far apart two readings are at least, however often the bell rings."""
_FIRST_STEP = 0.05
_EVERY = 1.0
_IDLE = 60.0
_LONGEST_OUTAGE_PAUSE = 2.0
_STOPS_WITHIN = 15.0
_NO_SCHEMA = ("3F000", "42P01", "42883")


class Lookout:
    """Reads the state of all awaited jobs in one statement, and of all batches in another: new ones
    at once, all of them when a finish rings, and every second whatever happens.

    The order is LISTEN, hold the bell, read: what ends after the reading rings. A finish that
    probed the bell before it was held, and commits after the reading, rings nobody; so the first
    readings after that come in growing steps.
    """

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self.reads = 0
        """How many statements have read states."""
        self._begin()
        _lookouts.add(self)

    def _begin(self) -> None:
        """Start from nothing, and so again in a forked child: threads and connections stay behind
        in its parent."""
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closing = False
        self._new: list[AnyInbox] = []
        self._inboxes: list[AnyInbox] = []
        self._line = Line(self._dsn)
        self._ends: tuple[socket.socket, socket.socket] | None = None
        self._step = _FIRST_STEP
        self._read_at = 0.0
        self._due = 0.0
        self._outage_since: float | None = None

    def begin_in_child(self) -> None:
        """Forget everything after a fork, and touch nothing of the parent's."""
        _inherited.append(self._line)
        for end in self._ends or ():
            end.close()
        self._begin()

    def watch(self, inbox: AnyInbox) -> None:
        """Have *inbox* receive what is read of its jobs or batches, until it wants no more."""
        with self._lock:
            if self._closing:
                raise WaitFailed("the waiter was closed")
            self._new.append(inbox)
            if self._thread is None:
                self._ends = socket.socketpair()
                for end in self._ends:
                    end.setblocking(False)
                self._thread = threading.Thread(
                    target=self._run, name="pgqueue-waiter", daemon=True
                )
                self._thread.start()
        self._wake()

    def close(self) -> None:
        """Disconnect and end the thread; whoever still waits is told."""
        with self._lock:
            self._closing = True
            thread = self._thread
        if thread is not None:
            self._wake()
            thread.join(_STOPS_WITHIN)

    def _wake(self) -> None:
        assert self._ends is not None
        with suppress(OSError):  # full of wakes already, or the thread has ended
            self._ends[0].send(b"!")

    def _run(self) -> None:
        while not self._closing:
            try:
                self._look()
            except Exception as error:  # noqa: BLE001  judged there; the thread must live on
                self._suffer(error)
            self._pause()
        self._line.drop()
        self._fail(WaitFailed("the waiter was closed"))
        for end in self._ends or ():
            end.close()

    def _look(self) -> None:
        fresh = self._take_new()
        self._inboxes = [inbox for inbox in self._inboxes if inbox.is_wanted] + fresh
        now = time.monotonic()
        if not self._inboxes:
            self._rest(now)
            return
        if not self._line.is_open:
            if self._outage_since is not None and now < self._due:
                return
            self._line.open()
            self._due = now
        if self._line.hold_bell():
            self._step, self._due = _FIRST_STEP, now
        elif fresh and not self._line.is_told:
            self._step, self._due = _FIRST_STEP, min(self._due, now + _FIRST_STEP)
        is_due = now >= self._due
        self._read(self._inboxes if is_due else fresh)
        if is_due:
            self._read_at = time.monotonic()
            self._due = self._read_at + self._step
            self._step = min(self._step * 2, _EVERY)
        self._recover()

    def _read(self, inboxes: Sequence[AnyInbox]) -> None:
        self._read_into([inbox for inbox in inboxes if inbox.kind is Reading], self._line.read)
        batches = [inbox for inbox in inboxes if inbox.kind is BatchReading]
        self._read_into(batches, self._line.read_batches)

    def _read_into(self, inboxes: list[AnyInbox], read: Callable[[list[int]], Any]) -> None:
        ids = sorted({each for inbox in inboxes for each in inbox.pending})
        if not ids:
            return
        readings = read(ids)
        self.reads += 1
        for inbox in inboxes:
            inbox.receive(readings)

    def _rest(self, now: float) -> None:
        """Nobody waits: finishes need not ring, and after a while there need be no connection."""
        if self._line.is_open:
            self._line.release_bell()
            if now - self._read_at > _IDLE:
                self._line.drop()
        self._due = now + _IDLE

    def _pause(self) -> None:
        """Wait until something is to be done."""
        assert self._ends is not None
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(self._ends[1], selectors.EVENT_READ)
                if self._line.is_open:
                    self._hear()  # what came together with an answer is in no socket any more
                    selector.register(self._line, selectors.EVENT_READ)
                selector.select(max(0.0, self._due - time.monotonic()))
            if self._line.is_open:
                self._hear()
        except Exception as error:  # noqa: BLE001  as above
            self._suffer(error)
        with suppress(BlockingIOError):
            self._ends[1].recv(4096)

    def _hear(self) -> None:
        if self._line.was_rung():
            self._due = min(self._due, self._read_at + _SOON)

    def _take_new(self) -> list[AnyInbox]:
        with self._lock:
            new, self._new = self._new, []
        return new

    def _suffer(self, error: Exception) -> None:
        """Outlive an outage; say what else is wrong to everybody who waits."""
        with suppress(Exception):
            self._line.drop()
        now = time.monotonic()
        if remedy(error) not in (Remedy.RECONNECT, Remedy.REPREPARE) or is_refusal(error):
            self._fail(_explain(error))
            self._outage_since, self._due = None, now + _IDLE
            return
        if self._outage_since is None:
            self._outage_since = now
            self._step = _FIRST_STEP
            log.warning("waiter: %s", " ".join(str(error).split()) or type(error).__name__)
        self._due = now + self._step * random.uniform(0.5, 1)
        self._step = min(self._step * 2, _LONGEST_OUTAGE_PAUSE)

    def _recover(self) -> None:
        if self._outage_since is not None:
            lasted = time.monotonic() - self._outage_since
            log.info("waiter: the database is back after %.1f s", lasted)
            self._outage_since = None

    def _fail(self, error: Exception) -> None:
        for inbox in self._inboxes + self._take_new():
            inbox.fail(error)
        self._inboxes = []


def _explain(error: Exception) -> Exception:
    """Return what those who wait are told of an error that waiting does not mend."""
    if getattr(error, "sqlstate", None) in _NO_SCHEMA:
        explained: Exception = SchemaMismatch(None, NEEDED)
    else:
        explained = WaitFailed(" ".join(str(error).split()) or type(error).__name__)
    explained.__cause__ = error
    return explained


_lookouts: "weakref.WeakSet[Lookout]" = weakref.WeakSet()
_inherited: list[Line] = []
"""Connections of a parent process: kept, because the collector would complain of them."""


def _begin_in_child() -> None:
    for lookout in list(_lookouts):
        lookout.begin_in_child()


os.register_at_fork(after_in_child=_begin_in_child)
