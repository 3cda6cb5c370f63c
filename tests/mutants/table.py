"""What a run came to, for people."""

import platform
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

from tests.mutants.mutant import Mutant
from tests.mutants.trial import Verdict


def one_line(mutant: Mutant, verdict: Verdict) -> str:
    """A mutant as it is told while the run goes on: 80 columns, and more only if it was not
    caught."""
    file = mutant.file.rpartition("/")[2]
    by = (verdict.by or verdict.outcome.upper()).rpartition("::")[2].removeprefix("test_")
    line = f"{mutant.name:<4} {file:<24.24} {verdict.seconds:4.0f} s  {_cut(by, 42)}"
    if verdict.is_caught:
        return line
    return f"{line}\n     {mutant.breaks}\n     {verdict.why}"


def summary(verdicts: Sequence[Verdict], seconds: float) -> str:
    """``30/30 caught``, for each list of mutants."""
    of_list = Counter(verdict.name[0] for verdict in verdicts)
    caught = Counter(verdict.name[0] for verdict in verdicts if verdict.is_caught)
    lists = ", ".join(f"{letter} {caught[letter]}/{n}" for letter, n in of_list.items())
    return f"caught: {lists} ({seconds:.0f} s)"


def results(mutants: Sequence[Mutant], verdicts: Sequence[Verdict], seconds: float) -> str:
    """The run as Markdown, to be kept."""
    lines = [
        "# Mutants",
        "",
        f"`make mutants ARGS=--keep`, {datetime.now(UTC):%Y-%m-%d}, Python "
        f"{platform.python_version()}. {summary(verdicts, seconds)}",
        "",
        "| mutant | breaks | file | caught by | s |",
        "|---|---|---|---|---|",
    ]
    for mutant, verdict in zip(mutants, verdicts, strict=True):
        by = (verdict.by or f"**{verdict.outcome}**").partition("::")[2] or verdict.outcome
        lines.append(
            f"| {mutant.name} | {mutant.breaks} | `{mutant.file.rpartition('/')[2]}` "
            f"| `{by}` | {verdict.seconds:.0f} |"
        )
    replaced = [mutant for mutant in mutants if mutant.instead_of]
    if replaced:
        lines += [
            "",
            "Well-known bugs that cannot be made here, and what stands in their place:",
            "",
        ]
        lines += [f"- **{mutant.name}** {mutant.instead_of}" for mutant in replaced]
    return "\n".join(lines) + "\n"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
