"""Installs each peer in an environment of its own under ``.bench/``, once."""

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from bench.failure import Missing
from bench.peers.registry import Peer

ROOT = Path(__file__).parents[2]
HOME = ROOT / ".bench"
NODE = (22, 18)
NODE_PACKAGE = "24"
"""The major version that is installed where the machine's own Node is older."""


class Environment(NamedTuple):
    command: list[str]
    """Runs the adapter; its own command follows."""
    variables: dict[str, str]
    version: str


def prepare(peer: Peer) -> Environment:
    """Install *peer* unless it is there. Raises :class:`Missing`."""
    if not peer.packages:
        return Environment(
            [*_module(sys.executable), f"bench.peers.adapters.{peer.adapter}"], {}, ""
        )
    if peer.runtime == "node":
        return _node(peer)
    if not peer.left and shutil.which("redis-server") is None:
        raise Missing("there is no redis-server")
    return _python(peer)


def _module(python: str) -> list[str]:
    return [python, "-m"]


def _python(peer: Peer) -> Environment:
    home = HOME / peer.name
    python = str(home / "bin" / "python")
    ready = home / ".installed"
    if not ready.exists() or ready.read_text().split() != list(peer.packages):
        shutil.rmtree(home, ignore_errors=True)
        _do([_find_python(peer.python), "-m", "venv", str(home)])
        _do([*_module(python), "pip", "install", "--quiet", *peer.packages])
        ready.write_text(" ".join(peer.packages))
    show = "import sys; from importlib.metadata import version; print(version(sys.argv[1]))"
    own = _do([python, "-c", show, peer.shows]).strip()
    interpreter = _do([python, "-c", "import platform; print(platform.python_version())"]).strip()
    command = [*_module(python), f"bench.peers.adapters.{peer.adapter}"]
    return Environment(command, {}, f"{own}, Python {interpreter}")


def _find_python(least: tuple[int, int]) -> str:
    for python in _pythons():
        check = f"import sys; sys.exit(sys.version_info < {least})"
        try:
            if subprocess.run([python, "-c", check], capture_output=True).returncode == 0:
                return python
        except OSError:
            continue
    raise Missing(f"it needs Python {least[0]}.{least[1]} or newer, and none was found")


def _pythons() -> Iterator[str]:
    """Our own first, then the newest on the PATH, then those of pyenv."""
    yield sys.executable
    yield from (path for n in range(15, 10, -1) if (path := shutil.which(f"python3.{n}")))
    yield from map(str, sorted(Path.home().glob(".pyenv/versions/3.1*/bin/python"), reverse=True))


def _node(peer: Peer) -> Environment:
    if shutil.which("npm") is None:
        raise Missing("there is no npm")
    home = HOME / "node"
    home.mkdir(parents=True, exist_ok=True)
    node = _find_node(home)
    for package in peer.packages:
        name, _, version = package.rpartition("@")
        if _installed(home, name) != version:
            _npm(home, package)
    adapter = Path(__file__).parent / "adapters" / peer.adapter
    version = f"{_installed(home, peer.shows)}, Node {_node_version(node)}"
    return Environment([node, str(adapter)], {"NODE_PATH": str(home / "node_modules")}, version)


def _find_node(home: Path) -> str:
    """The machine's Node, if it is new enough, else one from npm."""
    own = shutil.which("node")
    if own and _is_new(own):
        return own
    system = {"Linux": "linux", "Darwin": "darwin"}.get(platform.system())
    machine = {"x86_64": "x64", "aarch64": "arm64", "arm64": "arm64"}.get(platform.machine())
    package = f"node-{system}-{machine}"
    installed = home / "node_modules" / package / "bin" / "node"
    if not installed.exists():
        _npm(home, f"{package}@{NODE_PACKAGE}")
    if not _is_new(str(installed)):
        raise Missing(f"it needs Node {NODE[0]}.{NODE[1]} or newer, and npm's {package} is not")
    return str(installed)


def _is_new(node: str) -> bool:
    return tuple(map(int, _node_version(node).split(".")[:2])) >= NODE


def _node_version(node: str) -> str:
    return _do([node, "--version"]).strip().removeprefix("v")


def _installed(home: Path, name: str) -> str | None:
    found = home / "node_modules" / name / "package.json"
    return str(json.loads(found.read_text())["version"]) if found.exists() else None


def _npm(home: Path, package: str) -> None:
    _do(["npm", "install", "--prefix", str(home), "--no-audit", "--no-fund", "--silent", package])


def _do(command: Sequence[str]) -> str:
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=600)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(f"{Path(command[0]).name} failed: {error}") from error
    if answer.returncode:
        words = (answer.stderr or answer.stdout).strip().splitlines()
        said = words[-1] if words else f"exit {answer.returncode}"
        raise Missing(f"{Path(command[0]).name} failed: {said}")
    return answer.stdout
