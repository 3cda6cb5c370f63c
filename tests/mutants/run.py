"""``python -m tests.mutants.run``: try every mutant; exit 0 if all are caught.

Exit codes: 0 all were caught · 1 one was not · 2 it could not be tried: a mutant no longer fits,
or a test that is to catch one fails as it is.
"""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import click

from pgqueue.embedded import exit_on_sigterm
from tests.mutants.mutant import Misfit, Mutant, read
from tests.mutants.table import one_line, results, summary
from tests.mutants.trial import LIMIT, Verdict, end_all, try_mutant, try_unchanged
from tests.postgres import Server

_RESULTS = Path(__file__).with_name("RESULTS.md")


@click.command(
    epilog="Examples: make mutants · make mutants ARGS='--only M7,M19' · "
    "python -m tests.mutants.run --json > verdicts.json"
)
@click.option("--only", metavar="NAME,...", help="Only these mutants.")
@click.option("-j", "--jobs", default=2, type=click.IntRange(1), help="So many at once. [2]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")
@click.option("--list", "lists", is_flag=True, help="Say what each breaks, and try none.")
@click.option("--keep", is_flag=True, help="Write this run's table to tests/mutants/RESULTS.md.")
def main(only: str | None, jobs: int, as_json: bool, lists: bool, keep: bool) -> None:
    """Put one bug at a time into a copy of this checkout, and see that the test that is to catch it
    does."""
    if keep and only:
        raise click.UsageError("--keep is for all of them: leave out --only")
    mutants = chosen(only)
    if lists:
        for mutant in mutants:
            click.echo(f"{mutant.name:<4} {mutant.breaks}")
        return
    began = time.monotonic()
    fit(mutants)
    exit_on_sigterm()
    with server() as dsn:
        prove(mutants, dsn, quiet=as_json)
        verdicts = []
        for mutant, verdict in tried(mutants, dsn, jobs):
            verdicts.append(verdict)
            if not as_json:
                click.echo(one_line(mutant, verdict))
    seconds = time.monotonic() - began
    if as_json:
        click.echo(json.dumps([asdict(verdict) for verdict in verdicts], indent=2))
    else:
        click.echo(summary(verdicts, seconds))
    if keep:
        _RESULTS.write_text(results(mutants, verdicts, seconds), encoding="utf-8")
    sys.exit(0 if all(verdict.is_caught for verdict in verdicts) else 1)


def chosen(only: str | None) -> list[Mutant]:
    """Return the mutants of these names, or all."""
    mutants = read()
    if only is None:
        return mutants
    wanted = only.split(",")
    known = {mutant.name for mutant in mutants}
    if unknown := [name for name in wanted if name not in known]:
        raise click.BadParameter(f"{', '.join(unknown)}: there is no such mutant; see --list")
    return [mutant for mutant in mutants if mutant.name in wanted]


def fit(mutants: Sequence[Mutant]) -> None:
    """End with exit code 2 unless all of them fit."""
    problems = []
    for mutant in mutants:
        try:
            mutant.check()
        except Misfit as misfit:
            problems.append(str(misfit))
    if problems:
        stop(*problems)


def prove(mutants: Sequence[Mutant], dsn: str, *, quiet: bool) -> None:
    """End with exit code 2 unless the tests that are to catch them pass unchanged."""
    tests = sorted({test for mutant in mutants for test in mutant.caught_by})
    began = time.monotonic()
    failed = try_unchanged(tests, dsn, limit=LIMIT + 20 * len(tests))
    if failed:
        stop(*(f"{test} fails without any mutant: {why}" for test, why in failed.items()))
    if not quiet:
        seconds = time.monotonic() - began
        click.echo(f"{len(tests)} tests pass unchanged ({seconds:.0f} s)")


def tried(mutants: Sequence[Mutant], dsn: str, jobs: int) -> Iterator[tuple[Mutant, Verdict]]:
    """Try them, *jobs* at once; yield each with its verdict, in order."""
    with ThreadPoolExecutor(jobs) as threads:
        try:
            yield from zip(
                mutants, threads.map(lambda each: try_mutant(each, dsn), mutants), strict=True
            )
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            end_all()
            raise


@contextmanager
def server() -> Iterator[str]:
    """One server for all trials; each makes databases of its own on it."""
    own = Server()
    try:
        yield own.dsn()
    finally:
        own.discard()


def stop(*problems: str) -> None:
    """Say what is wrong, and end."""
    for problem in problems:
        click.echo(problem, err=True)
    sys.exit(2)


if __name__ == "__main__":
    main()
