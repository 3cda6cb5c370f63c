"""The command line as tests use it: inside this process, or as a real process."""

import inspect
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg
from click.testing import CliRunner, Result

from pgqueue.cli import program

ROOT = Path(__file__).parents[1]
MAIN = [sys.executable, "-m", "pgqueue.cli"]
# Before 8.2 click mixed both streams unless it was told not to; since then it cannot be told.
_APART: dict[str, Any] = (
    {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}
)


class Command:
    """``pgqueue`` on one database."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn

    def __call__(self, *words: object, exits: int | None = 0, stdin: str | None = None) -> Result:
        """Run it here; what it raises beyond its own errors is raised. *exits*: with which code, or
        None for any."""
        result = CliRunner(env={"PGQUEUE_DSN": self.dsn, "COLUMNS": "80"}, **_APART).invoke(
            program, [str(word) for word in words], input=stdin, catch_exceptions=False
        )
        assert exits in (None, result.exit_code), result.output
        return result

    def json(self, *words: object, exits: int = 0) -> Any:
        """Run it with ``--json``; return what it printed."""
        return json.loads(self(*words, "--json", exits=exits).stdout)

    def sql(self, statement: str, *params: object) -> list[tuple[Any, ...]]:
        """Run SQL beside it, and commit."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            cursor = connection.execute(statement, params or None)
            return cursor.fetchall() if cursor.description else []


def environment(dsn: str | None, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a real process is given: nothing of libpq's own variables, and this checkout."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    given = {} if dsn is None else {"PGQUEUE_DSN": dsn}
    return {**kept, "PYTHONPATH": str(ROOT), **given, **(more or {})}


def run_process(
    *words: str, dsn: str | None = None, more: Mapping[str, str] | None = None, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run it as a process of its own, to its end."""
    return subprocess.run(
        [*MAIN, *words],
        env=environment(dsn, more),
        text=True,
        check=False,
        timeout=120,
        **{"capture_output": True, "stdin": subprocess.DEVNULL, **options},
    )
