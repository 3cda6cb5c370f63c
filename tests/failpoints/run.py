"""``python -m tests.failpoints.run``: harm a process at every step that it takes in the database,
in every way, and see each time that every promise holds. Exits 0 if they all did."""

import json
import random
import re
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

import click

from pgqueue.embedded.server import exit_on_sigterm
from tests.failpoints.matrix import ELSEWHERE, IN_NEED, Matrix, unreached
from tests.failpoints.rehearsal import Verdict
from tests.failpoints.saboteur import ACTIONS, Strike
from tests.failpoints.scene import Cell
from tests.postgres import Server

_SIGNS = {"ok": "ok", "FAILED": "FAILED", "not reached": "-"}


@click.command(
    epilog="""\b
Examples:
  python -m tests.failpoints.run
  python -m tests.failpoints.run --only 'handler.*/commit'
  python -m tests.failpoints.run --only pump/claim_jobs:after --action stop --seed 7
"""
)
@click.option("--parallel", default=2, show_default=True, help="Runs at a time.")
@click.option("--seed", type=int, help="Draw the passages from this seed. Default: a new one.")
@click.option("--only", help="Points that this regular expression finds; no second harms.")
@click.option("--action", "actions", multiple=True, type=click.Choice(ACTIONS), help="Repeatable.")
@click.option("--passage", type=int, help="The passage that is struck. Default: drawn.")
@click.option(
    "--again",
    type=click.File(),
    help="Those that failed, of a file that --json wrote; nothing else is run.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a run.")
def main(
    parallel: int,
    seed: int | None,
    only: str | None,
    actions: Sequence[str],
    passage: int | None,
    again: TextIO | None,
    as_json: bool,
) -> None:
    """Harm a worker and applications at every step, in every way."""
    exit_on_sigterm()
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    began = time.monotonic()
    server = Server()
    try:
        with Matrix(server.dsn(), parallel=parallel, seed=seed, passage=passage) as matrix:
            if again is not None:
                recorded, done = [], _run(matrix, failed_in(again), as_json)
            else:
                recorded = matrix.record()
                cells = [cell for cell in matrix.cells(recorded) if _wanted(cell, only, actions)]
                done = _run(matrix, cells, as_json)
                done += _run(matrix, matrix.earlier(done), as_json)
            if only is None and again is None:
                second = matrix.second_cells(recorded, done)
                done += _run(matrix, [c for c in second if _wanted(c, only, actions)], as_json)
    finally:
        server.discard()
    everything = [*recorded, *done]
    seconds = time.monotonic() - began
    if as_json:
        click.echo(json.dumps(numbers(everything, seed, seconds)))
    else:
        click.echo(table(done))
        click.echo(summary(everything, seed, seconds))
    sys.exit(any(verdict.problems for verdict in everything))


def failed_in(lines: Iterable[str]) -> list[Cell]:
    """The cells that failed in what ``--json`` printed."""
    runs = [json.loads(line) for line in lines]
    return [
        Cell(run["who"], tuple(Strike(**each) for each in run["strikes"]), run["children"])
        for run in runs
        if run.get("outcome") == "FAILED"
    ]


def table(done: Iterable[Verdict]) -> str:
    """A line for each point, a column for each action."""
    rows: dict[str, dict[str, str]] = {}
    for verdict in done:
        last = verdict.cell.strikes[-1]
        rows.setdefault(last.point, {})[last.action] = _SIGNS[verdict.outcome]
    head = f"{'point':<44}" + "".join(f"{action:<7}" for action in ACTIONS)
    lines = [
        f"{point:<44}" + "".join(f"{answers.get(action, ''):<7}" for action in ACTIONS)
        for point, answers in sorted(rows.items())
    ]
    return "\n".join(line.rstrip() for line in [head, *lines])


def numbers(everything: Sequence[Verdict], seed: int, seconds: float) -> dict[str, Any]:
    """What all of it came to."""
    passed = {point for verdict in everything for point in verdict.passed}
    harmed = [verdict for verdict in everything if verdict.cell.strikes]
    return {
        "seed": seed,
        "seconds": round(seconds),
        "points": len(passed),
        "struck": len({v.cell.strikes[-1].point for v in harmed if v.outcome == "ok"}),
        "runs": len(everything),
        "outcomes": {each: sum(v.outcome == each for v in everything) for each in _SIGNS},
        "never run": unreached(passed) if len(harmed) < len(everything) else [],
    }


def summary(everything: Sequence[Verdict], seed: int, seconds: float) -> str:
    """The numbers, what failed, and what nobody came to."""
    known = numbers(everything, seed, seconds)
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in known["outcomes"].items())
    lines = [
        f"seed         {seed}",
        f"points       {known['points']}, {known['struck']} of them struck",
        f"runs         {known['runs']} in {known['seconds']} s: {outcomes}",
        *(f"not reached  {v.cell}" for v in everything if v.outcome == "not reached"),
        *(f"never run    {name}: {IN_NEED.get(name, 'why?')}" for name in known["never run"]),
        *(f"not theirs   {who}: {', '.join(names)}" for who, names in ELSEWHERE.items()),
    ]
    for verdict in everything:
        if verdict.problems:
            problems = "\n".join(f"    {problem}" for problem in verdict.problems)
            lines.append(f"FAILED       {verdict.cell} ({verdict.home})\n{problems}")
    return "\n".join(lines)


def _run(matrix: Matrix, cells: Sequence[Cell], as_json: bool) -> list[Verdict]:
    done: list[Verdict] = []
    with click.progressbar(
        length=len(cells), file=sys.stderr, label="runs", show_pos=True
    ) as progress:
        for verdict in matrix.run(cells):
            done.append(verdict)
            progress.update(1)
            if len(done) % 100 == 0 and not sys.stderr.isatty():
                click.echo(f"{len(done)} of {len(cells)} runs", err=True)
            if as_json:
                click.echo(_json(verdict))
            elif verdict.problems:
                click.echo(f"FAILED {verdict.cell}: {verdict.problems[0]}", err=True)
    return done


def _json(verdict: Verdict) -> str:
    return json.dumps(
        {
            "who": verdict.cell.who,
            "children": verdict.cell.children,
            "strikes": [strike._asdict() for strike in verdict.cell.strikes],
            "outcome": verdict.outcome,
            "problems": verdict.problems,
            "seconds": round(verdict.seconds, 2),
            "home": verdict.home,
        }
    )


def _wanted(cell: Cell, only: str | None, actions: Sequence[str]) -> bool:
    last = cell.strikes[-1]
    return (not actions or last.action in actions) and bool(re.search(only or "", last.point))


if __name__ == "__main__":
    main()
