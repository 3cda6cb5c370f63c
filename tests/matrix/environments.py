"""A virtual environment for each Python and choice of dependencies, under ``.matrix/``."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

from tests.command import ROOT
from tests.matrix.cells import Cell
from tests.matrix.pythons import find_python
from tests.matrix.versions import plain

HOME = ROOT / ".matrix" / "environments"
EXTRAS = ("binary", "test", "dev")
"""Not ``embedded``: the programs are the cell's."""
_BOUND = re.compile(r"^([A-Za-z0-9_.-]+)(?:\[[^]]*\])?>=([0-9.]+)")
_PATIENCE = 900


class NotInstalled(Exception):
    """What ``pyproject.toml`` allows cannot be installed, and so is not allowed."""


def lowest() -> dict[str, str]:
    """The lowest version of each package that ``pyproject.toml`` allows."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"]]
    for extra in EXTRAS:
        wanted += project["optional-dependencies"][extra]
    bounds = (_BOUND.match(requirement) for requirement in wanted)
    return {plain(bound[1]): bound[2] for bound in bounds if bound is not None}


def prepare(cell: Cell) -> Path:
    """Install for *cell*; return the interpreter.

    Raises :class:`Missing` without such a Python, :class:`NotInstalled` if it cannot be done.
    """
    found = find_python(cell.python)
    home = HOME / f"{cell.python}-{cell.dependencies}"
    python = home / "bin" / "python"
    if not python.exists():
        _do(str(found), "-m", "venv", str(home))
    uv = shutil.which("uv")
    install = (
        [uv, "pip", "install", "--python", str(python)]
        if uv
        else [str(python), "-m", "pip", "install"]
    )
    if cell.dependencies == "lowest":
        pinned = HOME / "lowest.txt"
        pinned.write_text("".join(f"{name}=={bound}\n" for name, bound in lowest().items()))
        install += ["--constraint", str(pinned)]
    _do(*install, "--quiet", "--upgrade", "--editable", f".[{','.join(EXTRAS)}]")
    return python


def _do(*words: str) -> None:
    HOME.mkdir(parents=True, exist_ok=True)
    answer = subprocess.run(
        words, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        timeout=_PATIENCE,
    )  # fmt: skip
    if answer.returncode != 0:
        raise NotInstalled(f"{' '.join(words)}: {answer.stderr.strip()[-400:]}")
