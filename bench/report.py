"""A run as it is kept: its conditions and its lines, as JSON and back."""

import json
import re
import traceback
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from bench.failure import Missing, Void
from bench.figure import Line

_PATHS = re.compile(r"(?:/[\w.+-]+){2,}")
"""What is kept names nothing of the machine that it was measured on."""


@dataclass(slots=True)
class Report:
    conditions: dict[str, str]
    sizes: dict[str, int]
    lines: list[Line] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """What could not be measured, and why."""

    def fail(self, name: str, error: Exception) -> str:
        """Note that *name* could not be measured; return the reason in one line."""
        lines = str(error).strip().splitlines() or [type(error).__name__]
        reason = lines[0] if len(lines) == 1 else f"{lines[0]} ({lines[-1]})"
        if not isinstance(error, (Void, Missing)):
            reason = f"{type(error).__name__}: {reason}"
            traceback.print_exception(error)
        self.problems.append(f"{name}: {_PATHS.sub('…', reason)}")
        return reason

    def line(self, name: str) -> Line | None:
        return next((line for line in self.lines if line.name == name), None)

    def named(self, start: str) -> list[Line]:
        """The lines whose names begin like this."""
        return [line for line in self.lines if line.name.startswith(start)]

    def as_json(self) -> str:
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def load(cls, path: Path) -> Self:
        kept: dict[str, Any] = json.loads(path.read_text())
        lines = [Line(**line) for line in kept.pop("lines")]
        return cls(**kept, lines=lines)
