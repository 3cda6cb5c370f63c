"""Counts the calls of handlers, in files that the bench reads while they grow.

Standard library only: peers import it in virtual environments of their own. Their Node twin is
``peers/frame.mjs``. Moments are monotonic nanoseconds, one clock for all processes of a machine.
"""

import mmap
import os
import struct
import threading
import time
from pathlib import Path
from typing import NamedTuple

DIRECTORY = "PGQUEUE_BENCH_COUNTERS"
"""Environment variable: where each process that runs handlers keeps its two files."""
STARTS = "PGQUEUE_BENCH_STARTS"
"""Environment variable: if set, the start of every job is kept, not only their number."""

_SLOT = struct.Struct("<qqq")
_START = struct.Struct("<qq")


class _Own:
    """The files of this process."""

    def __init__(self) -> None:
        path = Path(os.environ[DIRECTORY], str(os.getpid()))
        with path.with_suffix(".count").open("w+b") as file:
            file.truncate(_SLOT.size)
            self.memory = mmap.mmap(file.fileno(), _SLOT.size)
        self.count = self.first = 0
        self.starts = path.with_suffix(".starts").open("ab", 0) if os.environ.get(STARTS) else None


_own: _Own | None = None
_lock = threading.Lock()


def _forget() -> None:
    """What a fork has is its parent's."""
    global _own
    _own = None


os.register_at_fork(after_in_child=_forget)


def count(number: int) -> None:
    """A handler was called, with the job of this *number*."""
    global _own
    now = time.monotonic_ns()
    with _lock:
        if _own is None:
            _own = _Own()
        _own.count += 1
        _own.first = _own.first or now
        _SLOT.pack_into(_own.memory, 0, _own.count, _own.first, now)
    if _own.starts is not None:
        _own.starts.write(_START.pack(number, now))


class Counted(NamedTuple):
    """What all processes have counted so far."""

    calls: int
    first: int
    last: int


class Counters:
    """The reading side."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._final: Counted | None = None

    def finish(self) -> None:
        """Nothing more will be counted, and the files may go."""
        self._final = self.read()

    def read(self) -> Counted:
        if self._final is not None:
            return self._final
        slots = [path.read_bytes() for path in self._directory.glob("*.count")]
        read = [Counted(*_SLOT.unpack(slot)) for slot in slots if len(slot) == _SLOT.size]
        read = [each for each in read if each.calls]
        if not read:
            return Counted(0, 0, 0)
        return Counted(
            sum(each.calls for each in read),
            min(each.first for each in read),
            max(each.last for each in read),
        )

    @property
    def calls(self) -> int:
        return self.read().calls

    def starts(self) -> dict[int, int]:
        """Number of a job -> when it was started first."""
        found: dict[int, int] = {}
        for path in self._directory.glob("*.starts"):
            kept = path.read_bytes()
            for number, moment in _START.iter_unpack(kept[: len(kept) // 16 * 16]):
                found[number] = min(moment, found.get(number, moment))
        return found
