"""Prove that each module was counted exactly once, by counting all of them again; and that each
line was imported exactly once, by reading all of them again."""

import gc
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from examples.library_census import report
from examples.library_census.counting import Figures, count
from examples.library_census.importing import lines_of
from examples.library_census.models import open_session
from examples.library_census.screen import Progress, say, table
from examples.library_census.tasks import count_module
from pgqueue import BatchStatus


class Check(NamedTuple):
    """Something that must hold, and the figures that show whether it does."""

    holds: bool
    claim: str


def prove(paths: Sequence[Path], said: Mapping[str, Any], imported: BatchStatus) -> list[Check]:
    """Count *paths* in this process, compare with what the jobs did, and print the answers.

    *said* is what the daily report said, *imported* how the import ended.
    """
    say("\nCounting all files again, in this process and without a queue")
    total, unparsable = recount(paths)
    with open_session() as session:
        checks = compare(session, len(paths), total, unparsable)
        checks.append(compare_import(session, imported, lines_of(paths)))
        counted, _, modules = report.counted(session)
    holds = (said["modules"], said["lines"]) == (modules, counted.lines)
    claim = f"the daily report said so: {said['lines']:,} lines in {said['modules']:,} modules"
    checks.append(Check(holds, claim))
    table(
        ("", *asdict(total)),
        [("by the jobs", *_columns(counted)), ("in the recount", *_columns(total))],
    )
    for check in checks:
        say(f"  {'ok' if check.holds else 'FAILED':<6} {check.claim}")
    return checks


def recount(paths: Sequence[Path]) -> tuple[Figures, set[str]]:
    """Return the sum of the figures, and the paths that do not parse."""
    gc.freeze()  # as the worker processes do
    progress = Progress(len(paths), "files")
    total, unparsable = Figures(), set()
    for done, path in enumerate(paths):
        progress.show(done)
        try:
            total += count(path)
        except Exception:  # noqa: BLE001  whatever it was, the job will have failed with it too
            unparsable.add(str(path))
    progress.show(len(paths))
    return total, unparsable


def compare(session: Session, modules: int, total: Figures, unparsable: set[str]) -> list[Check]:
    """Hold the jobs, their results and a recount against each other."""
    everything = report.jobs(session)
    jobs = report.jobs(session, count_module.name)
    counted, rows, distinct = report.counted(session)
    uncounted = report.uncounted(session)
    return [
        Check(
            everything.are_over and not everything.dead,
            f"the queue is empty: {everything.waiting} jobs wait, {everything.running} run, "
            f"{everything.dead} dead",
        ),
        Check(
            jobs.succeeded + jobs.discarded == modules,
            f"every job came to an end: {jobs.succeeded:,} succeeded + {jobs.discarded} discarded "
            f"= {modules:,}",
        ),
        Check(
            rows == distinct == jobs.succeeded,
            f"each success counted once: {rows:,} counts of {distinct:,} modules by "
            f"{jobs.succeeded:,} jobs",
        ),
        Check(
            uncounted == unparsable,
            f"exactly the files that do not parse have no count: {len(uncounted)}, and "
            f"{len(unparsable)} in the recount",
        ),
        Check(counted == total, "the sum of the jobs' counts is that of the recount"),
    ]


def compare_import(session: Session, imported: BatchStatus, lines: Iterable[str]) -> Check:
    """Hold the imported lines against those of the files."""
    found, expected = report.imported(session), list(enumerate(lines))
    return Check(
        found == expected and imported.succeeded == imported.total,
        f"each line was imported once: {len(found):,} of {len(expected):,} by "
        f"{imported.succeeded:,} jobs",
    )


def _columns(figures: Figures) -> list[str]:
    return [f"{figure:,}" for figure in asdict(figures).values()]
