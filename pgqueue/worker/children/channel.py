"""What a worker and its process children say to each other: pickled messages over a socket pair.

Both ends are one program of one user, so pickle lets nobody in; what comes from the database
crosses as the JSON text it is. A message goes as its length and its pickle.
"""

import pickle
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

from pgqueue.context import Why
from pgqueue.effects import Answer as Known
from pgqueue.effects import Entry, Word
from pgqueue.job import Job
from pgqueue.notes import Note
from pgqueue.outcome import Outcome

_LENGTH = struct.Struct("!I")
_PIECE = 64 * 1024


class Hello(NamedTuple):
    """To the child, first: where the tasks are and how to run them. Answered Ready or Failed."""

    path: str
    sys_path: list[str]
    memory_mb: int | None
    levels: dict[str, int]


class Run(NamedTuple):
    """To the child: run this. Answered Ended, or Failed if the child does not know the task."""

    job: Job
    trace: dict[str, str] | None = None
    """The trace of the attempt, if there is a tracer."""


class EndEarly(NamedTuple):
    """To the child: the job that runs is to end. Not answered; the job's outcome is awaited."""

    why: Why


class Leased(NamedTuple):
    """To the child, for each Extend: until when the lease surely stands, by the clock of the
    machine. In the past: nobody knows at present; ask again."""

    until: float


class Told(NamedTuple):
    """To the child, for each Asked: what is known now, or why that cannot be found out."""

    call: str
    word: Word
    known: Known | None
    problem: str = ""


class Exit(NamedTuple):
    """To the child: end once the job that runs is done. Answered by closing the connection."""


class Ready(NamedTuple):
    """From the child: the tasks are imported."""


class Failed(NamedTuple):
    """From the child: what was asked for cannot be done here."""

    problem: str
    traceback: str | None = None


class Ended(NamedTuple):
    """From the child: the job came to this. The job itself is not sent back, it may be large."""

    kind: type[Any]
    rest: tuple[Any, ...]

    @classmethod
    def of(cls, outcome: Outcome) -> "Ended":
        return cls(type(outcome), outcome[1:])

    def outcome(self, job: Job) -> Outcome:
        """Return the outcome of *job* that this tells."""
        outcome: Outcome = self.kind(job, *self.rest)
        return outcome


class Logged(NamedTuple):
    """From the child, at any time: the fields of a log record."""

    record: dict[str, Any]


class Noted(NamedTuple):
    """From the child, while it runs a job: what the handler said of it."""

    note: Note


class Extend(NamedTuple):
    """From the child, while it runs a job: the lease is to last for so long. Answered Leased."""

    seconds: float


class Asked(NamedTuple):
    """From the child, while it runs a job: what it does outside. Answered Told."""

    entry: Entry


Request = Hello | Run | EndEarly | Leased | Told | Exit
Said = Noted | Extend | Asked
Answer = Ready | Failed | Ended
Message = Request | Answer | Logged | Said


def pack(message: Message) -> bytes:
    """Return *message* as it goes over the wire."""
    body = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return _LENGTH.pack(len(body)) + body


class Unpacker:
    """Makes messages of the pieces that arrive."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Any]:
        """Take the next piece; yield the messages it completes. Raises what unpickling raises."""
        self._buffer += data
        while len(self._buffer) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(self._buffer)[0]
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[_LENGTH.size : end])
            del self._buffer[:end]
            yield pickle.loads(body)


class Channel:
    """The child's end. Any thread may send; one receives."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._sending = threading.Lock()

    def send(self, message: Message) -> None:
        """Send *message*, waiting for the parent to take it. Raises OSError if there is none."""
        data = pack(message)
        with self._sending:
            self._connection.sendall(data)

    def messages(self) -> Iterator[Any]:
        """Yield what the parent sends, until it is gone."""
        unpacker = Unpacker()
        while data := self._connection.recv(_PIECE):
            yield from unpacker.feed(data)

    def abandon(self) -> None:
        """Let go of the connection, in a fork of the child that has no business on it.

        The parent takes the end of the connection for the child's death.
        """
        self._sending = threading.Lock()
        self._connection.close()
