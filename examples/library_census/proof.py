"""Prove that each module was counted exactly once, by counting all of them again."""

import gc
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from sqlalchemy.orm import Session

from examples.library_census import report
from examples.library_census.counting import Figures, count
from examples.library_census.models import open_session
from examples.library_census.screen import Progress, say, table


class Check(NamedTuple):
    """Something that must hold, and the figures that show whether it does."""

    holds: bool
    claim: str


def prove(paths: Sequence[Path]) -> list[Check]:
    """Count *paths* in this process, compare with what the jobs did, and print the answers."""
    say("\nCounting all files again, in this process and without a queue")
    total, unparsable = recount(paths)
    with open_session() as session:
        checks = compare(session, len(paths), total, unparsable)
        counted = report.counted(session)[0]
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
    jobs = report.jobs(session)
    counted, rows, distinct = report.counted(session)
    uncounted = report.uncounted(session)
    return [
        Check(
            jobs.are_over and not jobs.dead,
            f"the queue is empty: {jobs.waiting} jobs wait, {jobs.running} run, {jobs.dead} dead",
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


def _columns(figures: Figures) -> list[str]:
    return [f"{figure:,}" for figure in asdict(figures).values()]
