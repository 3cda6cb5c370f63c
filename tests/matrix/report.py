"""The matrix as a table of eighty columns, and all of it as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict

from tests.matrix.outcome import SHOWN, Outcome

_LINE = "{:24}{:7}{:9}{:>7}{:>7}{:>8}{:>9}"


def table(outcomes: Sequence[Outcome]) -> str:
    """A line a cell, then what stands behind it."""
    lines = [_LINE.format("cell", "suite", "result", "passed", "failed", "skipped", "seconds")]
    for each in outcomes:
        counts = each.passed, each.failed, each.skipped, f"{each.seconds:.0f}"
        result = each.result.upper() if each.result != "passed" else each.result
        lines.append(_LINE.format(each.cell, each.suite, result, *counts))
    for each in outcomes:
        lines += ["", each.cell, *_behind(each)]
    return "\n".join(lines)


def as_json(outcomes: Sequence[Outcome]) -> str:
    return json.dumps([asdict(each) for each in outcomes], indent=2)


def _behind(outcome: Outcome) -> list[str]:
    have = [f"{name} {outcome.versions[name]}" for name in SHOWN if name in outcome.versions]
    lines = [
        *(", ".join(part) for part in (have[:4], have[4:]) if part),
        *([f"{outcome.result.upper()}: {outcome.why}"] if outcome.why else []),
        *(f"FAILED {name}" for name in outcome.failures),
        *(f"skipped {count} x {reason}" for reason, count in outcome.skips.items()),
    ]
    return [f"  {line}" for line in lines]
