"""Under which conditions something was measured: what a reader must know, and nothing that names
this machine."""

import os
import platform
import sys
from datetime import datetime
from importlib import metadata
from pathlib import Path

import psycopg

SETTINGS = {
    "shared_buffers": "1GB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "max_connections": "200",
}
"""Of the server that the bench starts; the rest are PostgreSQL's defaults, fsync among them."""
_SHOWN = ("fsync", "synchronous_commit", "full_page_writes", "autovacuum", *SETTINGS)


def conditions(dsn: str) -> dict[str, str]:
    """What to know about a run on this server, now."""
    with psycopg.connect(dsn) as connection:
        version = connection.execute("SELECT version()").fetchone()
        shown = [
            (name, connection.execute("SELECT current_setting(%s)", [name]).fetchone())
            for name in _SHOWN
        ]
    assert version is not None
    return {
        "date": f"{datetime.now():%Y-%m-%d %H:%M}",
        "machine": _machine(),
        "load average": ", ".join(f"{load:.2f}" for load in os.getloadavg()),
        "server": " ".join(version[0].split()[:2]),
        "settings": ", ".join(f"{name} {row[0]}" for name, row in shown if row),
        "Python": f"{platform.python_implementation()} {sys.version.split()[0]}",
        "psycopg": f"{psycopg.__version__}, {psycopg.pq.__impl__}",
        "pgqueue": metadata.version("pgqueue"),
    }


def _machine() -> str:
    parts = [f"{os.cpu_count()} CPUs", _processor(), _memory(), platform.system()]
    return ", ".join(part for part in parts if part)


def _processor() -> str:
    return _proc("/proc/cpuinfo", "model name") or platform.machine()


def _memory() -> str:
    kilobytes = _proc("/proc/meminfo", "MemTotal").split()
    return f"{int(kilobytes[0]) / 2**20:.0f} GiB" if kilobytes else ""


def _proc(path: str, name: str) -> str:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return ""
    found = (line.partition(":")[2].strip() for line in lines if line.startswith(name))
    return next(found, "")
