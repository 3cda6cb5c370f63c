"""Keeps full runs in ``bench/results/`` and writes ``bench/RESULTS.md`` from them."""

from pathlib import Path

from bench.measures import TITLES
from bench.plots import write_plots
from bench.reasons import reasons
from bench.report import Report
from bench.table import table
from bench.targets import Verdict, verdicts

HOME = Path(__file__).parent
DIRECTORY = HOME / "results"
RESULTS = HOME / "RESULTS.md"
KEPT = {"bench": DIRECTORY / "bench.json", "peers": DIRECTORY / "peers.json"}

_HEAD = """# Results

Written by `make bench` and `make bench-peers` with `ARGS=--keep`, from `results/`; not to edit.
Ratios of one run can be compared between machines, absolute figures cannot. What was tried to reach
the targets stands in [ARCHITECTURE.md](../ARCHITECTURE.md#speed).
"""
_REACHED = {True: "reached", False: "**missed**", None: "not measured"}


def keep(report: Report, name: str) -> None:
    """Keep *report* as the latest run of this *name*, its plots, and write the results anew."""
    DIRECTORY.mkdir(exist_ok=True)
    KEPT[name].write_text(report.as_json() + "\n")
    write_plots(report, DIRECTORY, prefix=f"{name}-")
    RESULTS.write_text(results_text())


def results_text() -> str:
    """``RESULTS.md``, from what is kept."""
    reports = {name: Report.load(path) for name, path in KEPT.items() if path.exists()}
    parts = [_HEAD]
    bench = reports.get("bench")
    if bench is not None:
        parts.append(_targets(list(verdicts(bench, reports.get("peers")))))
    for name, title in (("bench", "Against bare SQL"), ("peers", "Beside the peers")):
        if name in reports:
            parts.append(_run(title, name, reports[name]))
    return "\n".join(parts)


def _targets(found: list[Verdict]) -> str:
    rows = [
        f"| {each.what} | {each.target} | {each.figure} |"
        f" {'' if each.ratio is None else f'{each.ratio:.2f}'} | {_REACHED[each.reached]} |"
        for each in found
    ]
    reached = sum(each.reached is True for each in found)
    missed = [f"{each.what} {each.target}" for each in found if each.reached is False]
    return "\n".join(
        [
            f"## The targets: {reached} of {len(found)} reached\n",
            "| what | target | median | ratio | |",
            "|---|---|---|---|---|",
            *rows,
            "",
            *(["### Why not\n", *reasons(missed), ""] if missed else []),
        ]
    )


def _run(title: str, name: str, report: Report) -> str:
    conditions = [f"- {key}: {value}" for key, value in report.conditions.items()]
    sizes = ", ".join(f"{key} {value:,}" for key, value in report.sizes.items())
    problems = [f"- **{problem}**" for problem in report.problems]
    plots = [
        f"![{path.stem}](results/{path.name})" for path in sorted(DIRECTORY.glob(f"{name}-*.svg"))
    ]
    measures = list(dict.fromkeys(line.measure for line in report.lines))
    tables = [
        table(
            TITLES.get(measure, measure), [line for line in report.lines if line.measure == measure]
        )
        for measure in measures
    ]
    return "\n".join(
        [
            f"## {title}\n",
            *conditions,
            f"- sizes: {sizes}",
            *problems,
            "",
            *plots,
            "",
            "```",
            "\n\n".join(tables),
            "```",
            "",
        ]
    )
