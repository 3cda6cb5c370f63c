"""What work costs: write-ahead log, row versions, CPU seconds. The last only on Linux."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import psycopg

_TICKS = os.sysconf("SC_CLK_TCK")


class Usage(NamedTuple):
    """Counters that only grow: the difference of two readings is what happened between them."""

    wal: int | None
    """Bytes of write-ahead log; None: the jobs are not in Postgres."""
    server: float | None
    """CPU seconds of the server and all its processes; None: it is not on this machine."""
    clients: float | None
    """CPU seconds of the processes named, and of those they started."""

    def since(self, earlier: "Usage") -> "Usage":
        return Usage(
            None if self.wal is None else self.wal - (earlier.wal or 0),
            None if self.server is None else self.server - (earlier.server or 0.0),
            None if self.clients is None else self.clients - (earlier.clients or 0.0),
        )


def usage(connection: psycopg.Connection, pids: Iterable[int] = ()) -> Usage:
    """Read the counters now."""
    row = connection.execute(
        "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint"
    ).fetchone()
    assert row is not None
    server = server_pid(connection)
    return Usage(row[0], None if server is None else cpu_seconds([server]), cpu_seconds(pids))


def row_versions(connection: psycopg.Connection, schema: str) -> int:
    """How many row versions were ever written in *schema*: inserts and updates. Sessions report
    theirs when they end, or within a second or so."""
    row = connection.execute(
        "SELECT coalesce(sum(n_tup_ins + n_tup_upd), 0)::bigint FROM pg_stat_all_tables"
        " WHERE schemaname = %s",
        [schema],
    ).fetchone()
    assert row is not None
    return int(row[0])


def server_pid(connection: psycopg.Connection) -> int | None:
    """The server's first process; None where it is not a process of this machine."""
    stat = _stats().get(connection.info.backend_pid)
    return stat.parent if stat and stat.name == "postgres" else None


def cpu_seconds(pids: Iterable[int]) -> float | None:
    """CPU seconds of these processes, of those below them, and of those that ended there."""
    stats = _stats()
    if not stats:
        return None
    below: dict[int, list[int]] = {}
    for pid, stat in stats.items():
        below.setdefault(stat.parent, []).append(pid)
    ticks, todo = 0, list(pids)
    while todo:
        pid = todo.pop()
        if pid in stats:
            ticks += stats[pid].ticks
            todo += below.get(pid, [])
    return ticks / _TICKS


def memory(pid: int) -> float | None:
    """MiB of memory that process *pid* occupies; None where that cannot be known."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:")), None)


class _Stat(NamedTuple):
    name: str
    parent: int
    ticks: int
    """Own, and of children that ended and were waited for."""


def _stats() -> dict[int, _Stat]:
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = path.read_text().partition("(")[2].rpartition(")")
        except OSError:  # it has just ended
            continue
        fields = rest.split()
        found[int(path.parent.name)] = _Stat(name, int(fields[1]), sum(map(int, fields[11:15])))
    return found
