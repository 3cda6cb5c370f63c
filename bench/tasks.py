"""The task that is measured: it does nothing but count itself, in memory shared with the bench."""

import mmap
import os
import struct
import time

from pgqueue import Tasks

tasks = Tasks()

SLOT = struct.Struct("qq")
"""How many jobs a worker process has started, and when (monotonic ns) it started the last one."""

_memory: mmap.mmap | None = None
_count = 0


@tasks.task("noop")
async def noop(user_id: int, template: str, pad: str) -> None:
    global _memory, _count
    if _memory is None:
        _memory = _own_slot()
    _count += 1
    SLOT.pack_into(_memory, 0, _count, time.monotonic_ns())


def _own_slot() -> mmap.mmap:
    """A file of this process's own in the directory that the bench names."""
    path = os.path.join(os.environ["PGQUEUE_BENCH_COUNTERS"], str(os.getpid()))
    with open(path, "w+b") as file:
        file.truncate(SLOT.size)
        return mmap.mmap(file.fileno(), SLOT.size)
