"""A mutant: a bug, told in words, as an exact change of one place, and who must notice it."""

import ast
import tomllib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_DATA = Path(__file__).with_name("mutants.toml")


class Misfit(Exception):
    """A mutant that cannot be applied as it stands: the code has changed under it."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"mutant {name} no longer fits: {why}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One entry of ``mutants.toml``."""

    name: str
    breaks: str
    """What is wrong with it, in plain words."""
    file: str
    """The file that it changes, from the root of the checkout."""
    before: str
    """What stands there, exactly once."""
    after: str
    caught_by: tuple[str, ...]
    """The tests that must fail, as pytest names them; of one with parameters, a case at least."""
    fails_with: tuple[str, ...] = ()
    """Exceptions that are as good as a failed assertion, by their names: such as the error of a
    lock that nobody should wait for."""
    instead_of: str | None = None
    """The well-known bug that stands at this number, and why it cannot be made here."""

    def check(self, root: Path = ROOT) -> None:
        """Raise :class:`Misfit` unless it can be applied and its tests exist."""
        self.applied(root)
        for test in self.caught_by:
            file, _, function = test.partition("::")
            if function.partition("[")[0] not in _functions(root / file):
                raise Misfit(self.name, f"there is no test {test}")

    def applied(self, root: Path) -> str:
        """Return the text of its file with the bug in it. Raises :class:`Misfit`."""
        path = root / self.file
        if not path.is_file():
            raise Misfit(self.name, f"there is no {self.file}")
        text = path.read_text(encoding="utf-8")
        found = text.count(self.before)
        if found != 1:
            raise Misfit(self.name, f"{self.file} has its text {found} times, not once")
        changed = text.replace(self.before, self.after)
        if changed == text:
            raise Misfit(self.name, "it changes nothing")
        return changed

    def apply(self, root: Path) -> None:
        """Put the bug into the tree at *root*. Raises :class:`Misfit`."""
        (root / self.file).write_text(self.applied(root), encoding="utf-8")


def read() -> list[Mutant]:
    """Return all mutants, in their order."""
    entries = tomllib.loads(_DATA.read_text(encoding="utf-8"))["mutant"]
    return [
        Mutant(
            **{key: tuple(value) if isinstance(value, list) else value for key, value in e.items()}
        )
        for e in entries
    ]


def _functions(file: Path) -> Collection[str]:
    """The names of the functions that a test file defines; none if it is not there."""
    if not file.is_file():
        return ()
    tree = ast.parse(file.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, kinds)}
