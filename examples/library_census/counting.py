"""What is counted in a module. Knows neither a database nor a queue."""

import ast
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

# Old code has odd escapes; whoever only counts need not hear of them.
warnings.filterwarnings("ignore", category=SyntaxWarning)

# Before Python 3.13 ast.parse() fails now and then when two threads are in it (gh-106905).
_one_at_a_time = Lock()


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of a module, or of many together."""

    lines: int = 0
    functions: int = 0
    classes: int = 0
    imports: int = 0

    def __add__(self, other: "Figures") -> "Figures":
        return Figures(
            self.lines + other.lines,
            self.functions + other.functions,
            self.classes + other.classes,
            self.imports + other.imports,
        )


def count(path: Path) -> Figures:
    """Parse the file at *path* and count. Raises SyntaxError, and others, if it does not parse."""
    source = path.read_bytes()
    with _one_at_a_time:
        tree = ast.parse(source)
    kinds = [type(statement) for statement in _statements(tree)]
    return Figures(
        lines=len(source.splitlines()),
        functions=kinds.count(ast.FunctionDef) + kinds.count(ast.AsyncFunctionDef),
        classes=kinds.count(ast.ClassDef),
        imports=kinds.count(ast.Import) + kinds.count(ast.ImportFrom),
    )


def _statements(tree: ast.Module) -> Iterator[ast.AST]:
    """All statements, however deep. ast.walk() would also visit every expression, which takes ten
    times as long."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        for block in ("body", "orelse", "finalbody", "handlers", "cases"):
            waiting += getattr(node, block, ())
