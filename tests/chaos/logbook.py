"""What happened outside of the database, one JSON object a line, in files that several processes
append to."""

import json
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

Entry = dict[str, Any]


def now() -> float:
    """The machine's clock, which the server reads as well; not one that a test put wrong."""
    return time.clock_gettime(time.CLOCK_REALTIME)


class Logbook:
    """Appends to a file of *home*: whole lines, whoever else writes.

    *durable*: on the disk before the call returns. Otherwise it outlives the process, which is all
    that the start of a handler needs.
    """

    def __init__(self, home: Path, name: str, *, durable: bool) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        self._file = os.open(home / f"{name}.jsonl", flags, 0o644)
        self._durable = durable

    def write(self, what: str, **fields: Any) -> None:
        self.write_all(what, [fields])

    def write_all(self, what: str, entries: Iterable[Entry]) -> None:
        lines = [json.dumps({"what": what, **entry}) + "\n" for entry in entries]
        os.write(self._file, "".join(lines).encode())
        if self._durable:
            os.fsync(self._file)

    def close(self) -> None:
        os.close(self._file)


def read(home: Path) -> Iterator[Entry]:
    """All that was written in *home*. A line that a killed process left unfinished is none."""
    for path in sorted(home.glob("*.jsonl")):
        for line in path.read_text().splitlines():
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                continue
