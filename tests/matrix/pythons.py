"""The Pythons of this machine: on PATH, made by pyenv, or kept by uv."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from shutil import which

from tests.matrix.cells import NEWEST
from tests.matrix.missing import Missing

_OLDEST = 11
_KEPT = (".pyenv/versions/3.*/bin/python3", ".local/share/uv/python/cpython-3.*/bin/python3")
_ASK = (
    "import sys, sysconfig, venv; released = sys.version_info.releaselevel == 'final';"
    "print(*sys.version_info[:3] if released and not sysconfig.get_config_var('Py_GIL_DISABLED')"
    " else ())"
)


def find_python(wanted: str) -> Path:
    """The newest release of *wanted* (``3.11``, or the newest of all). Raises :class:`Missing`."""
    found = {}
    for path in _candidates():
        answer = subprocess.run([path, "-c", _ASK], capture_output=True, text=True, check=False)
        if answer.returncode == 0 and answer.stdout.strip():
            found[tuple(int(part) for part in answer.stdout.split())] = path
    fitting = [
        version
        for version in found
        if version >= (3, _OLDEST) and wanted in (NEWEST, f"{version[0]}.{version[1]}")
    ]
    if not fitting:
        raise Missing(f"no Python {wanted} on PATH, nor of pyenv or uv")
    return found[max(fitting)]


def _candidates() -> Iterator[Path]:
    for pattern in _KEPT:
        yield from Path.home().glob(pattern)
    for minor in range(_OLDEST, 30):
        on_path = which(f"python3.{minor}")
        if on_path:
            yield Path(on_path)
