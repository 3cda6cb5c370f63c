"""``python -m bench``: pgqueue and bare SQL in turn on one server; medians, ranges and ratios.

Absolute figures drift with the machine. A ratio of two things measured in turn, in one run, is what
can be compared.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import click

from bench import results
from bench.conditions import SETTINGS, conditions
from bench.figure import gather
from bench.measures import MEASURES, TITLES
from bench.plots import write_plots
from bench.progress import hush
from bench.report import Report
from bench.setting import Setting
from bench.sizes import FULL, QUICK, TEN_MINUTES, Sizes
from bench.table import table
from pgqueue import migrate
from pgqueue.embedded import EmbeddedPostgres, exit_on_sigterm


def _names(ctx: click.Context, param: click.Parameter, value: str | None) -> list[str]:
    chosen = value.split(",") if value else list(MEASURES)
    unknown = [name for name in chosen if name not in MEASURES]
    if unknown:
        raise click.BadParameter(f"{', '.join(unknown)}: choose from {', '.join(MEASURES)}")
    return [name for name in MEASURES if name in chosen]


def _sizes(command: Any) -> Any:
    """An option for each size."""
    for size in reversed(fields(Sizes)):
        flag = "--" + size.name.replace("_", "-")
        command = click.option(flag, size.name, type=click.IntRange(1), metavar="N")(command)
    return command


def _size(flag: str, sizes: Sizes, what: str) -> Callable[[Any], Any]:
    """A flag for *sizes*, which click before 8.2 would make a text of unless told not to."""
    return click.option(flag, "sizes", flag_value=sizes, type=click.UNPROCESSED, help=what)


@click.command(epilog="Measures: " + "; ".join(f"{name}: {TITLES[name]}" for name in MEASURES))
@click.option("--only", callback=_names, metavar="NAME,...", help="Only these measures.")
@_size("--quick", QUICK, "Small sizes: does it run at all?")
@_size("--full", FULL, "1M and 10M rows: half an hour.")
@click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path),
    help="Write the figures and plots there.",
)
@click.option("--keep", is_flag=True, help="Keep this run in bench/results, write RESULTS.md.")
@click.option("--dsn", envvar="PGQUEUE_BENCH_DSN", help="An empty database to measure on.")
@_sizes
def main(
    only: list[str],
    sizes: Sizes | None,
    json_file: Path | None,
    keep: bool,
    dsn: str | None,
    **given: int | None,
) -> None:
    """Measure pgqueue against bare SQL. Without --dsn on a server that is started for it."""
    if keep and len(only) < len(MEASURES):
        raise click.UsageError("--keep keeps a run of everything; leave out --only")
    exit_on_sigterm()
    chosen = replace(sizes or TEN_MINUTES, **{k: v for k, v in given.items() if v is not None})
    with _server(dsn) as server:
        migrate.upgrade(server)
        report = Report(conditions(server), asdict(chosen))
        run(report, Setting(server, chosen), only)
        report.conditions["load average at the end"] = f"{os.getloadavg()[0]:.2f}"
    if json_file:
        json_file.write_text(report.as_json() + "\n")
        write_plots(report, json_file.parent, prefix=f"{json_file.stem}-")
    if keep:
        results.keep(report, "bench")
    for name, value in report.conditions.items():
        click.echo(f"{name}: {value}")
    if report.problems:
        sys.exit("VOID: " + "\n      ".join(report.problems))


def run(report: Report, setting: Setting, names: list[str]) -> None:
    """Measure, print each table as it is there, and put it all into *report*. A measure that is
    void does not keep the others from being made."""
    for number, name in enumerate(names, 1):
        setting.prefix = f"({number}/{len(names)}) "
        figures = []
        try:
            for figure in MEASURES[name](setting):
                figures.append(figure)
        except Exception as error:  # noqa: BLE001  reported, and the command fails at its end
            hush()
            click.echo(f"\n{name} is VOID: {report.fail(name, error)}")
            continue
        lines = gather(name, figures)
        report.lines += lines
        hush()
        click.echo("\n" + table(TITLES[name], lines), nl=True)


@contextmanager
def _server(dsn: str | None) -> Iterator[str]:
    if dsn is not None:
        yield dsn
        return
    with EmbeddedPostgres(settings=SETTINGS) as server:
        yield server.dsn


if __name__ == "__main__":
    main()
