"""One run: a process is harmed at one point, a sound worker finishes what there is, and then every
promise must hold."""

import shutil
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import psycopg

from pgqueue.testing.databases import Databases, name_of
from tests.chaos import checker
from tests.chaos.logbook import read
from tests.chaos.run import dump, errors_in
from tests.failpoints.actor import LEASE, RESCUE_EVERY
from tests.failpoints.scene import SLACK, WORKERS, Cell, Scene, Stuck

RESCUE = LEASE + RESCUE_EVERY + (LEASE / 3 + 2) + SLACK

_OUTSIDERS = """
SELECT count(*) FROM pgqueue.finished_jobs WHERE task = 'outsider' AND state = 'succeeded'
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of a run."""

    cell: Cell
    struck: int
    """How many of its strikes came."""
    problems: tuple[str, ...]
    seconds: float
    passed: dict[str, int] = field(default_factory=dict)
    """The points that the harmed process came to, in their order, and how often."""
    home: str | None = None
    """Where all of it is, if there are problems."""

    @property
    def outcome(self) -> str:
        if self.problems:
            return "FAILED"
        return "ok" if self.struck == len(self.cell.strikes) else "not reached"


def rehearse(cell: Cell, server_dsn: str, template: str) -> Verdict:
    """Do one run on a database of its own, copied from *template*, and judge it."""
    began = time.monotonic()
    databases = Databases(server_dsn)
    home = Path(tempfile.mkdtemp(prefix="pgqueue-failpoints-"))
    dsn = databases.create(template)
    with ExitStack() as stack:
        stack.callback(databases.drop, dsn)
        scene = Scene(cell, dsn, home, stack)
        try:
            scene.play()
        except Stuck as error:
            scene.problems.append(str(error))
            scene.abandon()
        problems = judge(scene, dsn, home)
        if problems:
            dump(dsn, home)
    struck, passed = len(scene.strikes), scene.passed
    if not problems:
        shutil.rmtree(home, ignore_errors=True)
    return Verdict(
        cell=cell,
        struck=struck,
        problems=tuple(problems),
        seconds=time.monotonic() - began,
        passed=passed,
        home=str(home) if problems else None,
    )


def judge(scene: Scene, dsn: str, home: Path) -> list[str]:
    """What is wrong."""
    try:
        scene.wait_until_all_are_gone()
    except Stuck as error:
        scene.problems.append(str(error))
    with psycopg.connect(dsn, autocommit=True) as connection:
        checker.load(connection, read(home), rescue=timedelta(seconds=RESCUE))
        violations = [str(each) for each in checker.check(connection)]
        row = connection.execute(_OUTSIDERS).fetchone()
        assert row is not None
    outside = sum(entry["what"] == "outside" for entry in read(home))
    if outside > 1 or (row[0] and not outside):
        violations.append(f"done outside {outside} times, by {row[0]} jobs that succeeded")
    logged = errors_in(home)
    if "bug" in scene.actions or scene.cell.who not in WORKERS:
        # What a worker says of a bug, and what a library says of an application's errors.
        logged = [line for line in logged if not line.startswith("victim.log")]
    return [*scene.problems, *violations, *logged]


def prepare(databases: Databases) -> str:
    """Make the database that those of the runs are copied from; return its name."""
    template = databases.create_migrated()
    with psycopg.connect(template, autocommit=True) as connection:
        checker.install(connection)
    return name_of(template)
