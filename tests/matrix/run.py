"""``python -m tests.matrix.run``: the suite on other versions of PostgreSQL, Python and what
pgqueue depends on. Exits 0 if no cell failed, and at least one passed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import click

from pgqueue.embedded.server import exit_on_sigterm
from tests.command import ROOT
from tests.matrix.cells import CELLS, Cell
from tests.matrix.environments import NotInstalled, lowest, prepare
from tests.matrix.missing import Missing
from tests.matrix.outcome import Outcome, read
from tests.matrix.programs import find_programs
from tests.matrix.report import as_json, table
from tests.matrix.versions import expect

HOME = ROOT / ".matrix"
LONGEST = {"full": 5400.0, "smoke": 1200.0}
"""Seconds that a cell may take. The suite takes 8 minutes on a machine that does nothing else, and
many times that on one that does."""


def run(cell: Cell) -> Outcome:
    """Prepare *cell* and test it."""
    try:
        programs, python = find_programs(cell.postgres), prepare(cell)
    except Missing as missing:
        return Outcome(cell=cell.name, suite=cell.suite, result="skipped", why=str(missing))
    except (NotInstalled, subprocess.TimeoutExpired) as error:
        return Outcome(cell=cell.name, suite=cell.suite, result="failed", why=str(error))
    report = HOME / f"{cell.name}.xml"
    report.unlink(missing_ok=True)
    began = time.monotonic()
    ended = _test(cell, programs, python, report)
    return read(
        report, cell=cell.name, suite=cell.suite, seconds=time.monotonic() - began, ended=ended
    )


def _test(cell: Cell, programs: Path, python: Path, report: Path) -> str:
    """Run pytest; return what is wrong with how it ended, if that is not told by its report."""
    words = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
    words += ["-m", "smoke"] if cell.suite == "smoke" else []
    packages = lowest() if cell.dependencies == "lowest" else {}
    release = subprocess.run(
        [python, "-c", "import platform; print(platform.python_version())"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    environment = {
        **os.environ,
        "PGQUEUE_PG_BIN": str(programs),
        **expect(postgres=cell.postgres, python=release, packages=packages),
    }
    with (HOME / f"{cell.name}.log").open("wb") as log:
        process = subprocess.Popen(
            words, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
        try:
            code = process.wait(LONGEST[cell.suite])
        except subprocess.TimeoutExpired:
            return f"not over after {LONGEST[cell.suite]:.0f} s; see {log.name}"
        finally:
            _end(process)
    return "" if code in (0, 1) else f"pytest exited {code}; see {log.name}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """As Ctrl-C does, so that fixtures clean up; whatever is left then, at once."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def choose(only: Sequence[str], smoke: bool) -> list[Cell]:
    """The cells whose name has one of *only* in it."""
    chosen = [cell for cell in CELLS if not only or any(part in cell.name for part in only)]
    if not chosen:
        known = ", ".join(cell.name for cell in CELLS)
        raise click.UsageError(f"no cell is called {' or '.join(only)}; there are: {known}")
    return [replace(cell, suite="smoke") for cell in chosen] if smoke else chosen


@click.command()
@click.option("--only", multiple=True, help="Cells whose name has this in it; may be repeated.")
@click.option("--smoke", is_flag=True, help="A minute of each cell, also of those tested fully.")
@click.option("--json", "for_machines", is_flag=True, help="Print JSON.")
def main(only: tuple[str, ...], smoke: bool, for_machines: bool) -> None:
    """Run the suite on each combination of versions.

    \b
    Examples:
      make matrix                              everything: some 40 minutes
      make matrix ARGS=--smoke                 a minute a cell
      make matrix ARGS="--only pg15 --json"
    """
    exit_on_sigterm()
    # What is started inherits an ignored Ctrl-C, which tests send; one that is handled it does not.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    HOME.mkdir(exist_ok=True)
    outcomes = []
    for cell in choose(only, smoke):
        outcomes.append(run(cell))
        click.echo(f"{outcomes[-1].cell}: {outcomes[-1].result} {outcomes[-1].why}", err=True)
    click.echo(as_json(outcomes) if for_machines else table(outcomes))
    results = {each.result for each in outcomes}
    sys.exit("failed" in results or "passed" not in results)


if __name__ == "__main__":
    main()
