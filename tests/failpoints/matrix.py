"""Every point times every action. The points are taken from a run without harm, so that none is
forgotten; those of the ways out of harm, which only the harmed take, from the runs with it."""

import multiprocessing
import random
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace

from pgqueue import statements
from pgqueue.testing.databases import Databases, dsn_of
from tests.failpoints.actor import die_with_parent
from tests.failpoints.rehearsal import Verdict, prepare, rehearse
from tests.failpoints.saboteur import ACTIONS, Strike
from tests.failpoints.scene import WORKERS, Cell

WHO = (*WORKERS, "psycopg Connection", "SQLAlchemy Session", "psycopg AsyncConnection")
_LATEST = 3
"""A point is struck at one of its first passages, up to this one."""
_CHILDREN = ("pump/finish_crashed:before", "pump/finish_crashed:after")
"""Points that only a worker with process children passes."""
_WITH_CHILDREN = 0.2
"""So many of the other runs have them: it takes a while to start Python."""

ELSEWHERE = {
    "looking": (
        "list_", "show_", "find_batches", "queue_status", "survey_", "summarise_", "explain_",
        "tell_story", "sees_payloads",
    ),
    "verbs of people, and fetching by hand": (
        "call_", "begin_steering", "bound_look", "read_matching",
    ),
    "pgqueue doctor": (
        "check_", "find_changed_tasks", "find_slow_tasks", "has_role", "read_settings",
    ),
    "pgqueue watch and metrics": ("watch_", "measure_"),
    "waiting for a job's end": ("read_status", "hold_done_bell", "release_done_bell"),
    "rotation of keys": ("find_sealed", "count_sealed", "rewrap_"),
    "an administrator, once": ("create_roles",),
    "the test kit": ("stop_clock", "find_next_"),
}  # fmt: skip
"""Who executes the statements that neither workers nor applications that enqueue do; by the
beginning of their names."""

IN_NEED = {
    "draw_ids": "for encrypted arguments, of which there are none here",
    "fail_schedule": "for a schedule that cannot be understood",
    "find_finished": "when the answer to a COMMIT was lost",
    "find_held": "when a lease was not renewed",
    "find_unlocked": "while somebody else holds a job's row",
    "find_written": "when the answer to a COMMIT was lost",
    "lock_undecided": "when the answer to a COMMIT was lost",
    "release_strays": "when a connection was lost",
}
"""Statements that an unharmed worker or application does not execute here, and when it does."""


class Matrix:
    """Runs cells, *parallel* at a time, on the server at *dsn*. A context: it makes the database
    that the others are copied from, and drops it."""

    def __init__(self, dsn: str, *, parallel: int, seed: int, passage: int | None = None) -> None:
        self._dsn = dsn
        self._databases = Databases(dsn)
        self._random = random.Random(seed)
        self._given = passage
        self._pool = ProcessPoolExecutor(
            parallel, multiprocessing.get_context("spawn"), initializer=die_with_parent
        )

    def __enter__(self) -> "Matrix":
        self._template = prepare(self._databases)
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._databases.drop(dsn_of(self._dsn, self._template))
        self._databases.drop_template()

    def record(self) -> list[Verdict]:
        """Run everybody without harm: their points are in what they passed."""
        verdicts = self.run([Cell(who, children=True) for who in WHO])
        return sorted(verdicts, key=lambda verdict: WHO.index(verdict.cell.who))

    def cells(self, recorded: Iterable[Verdict]) -> list[Cell]:
        """Every point that was passed, times every action, with the first who passed it; in any
        order."""
        first: dict[str, tuple[str, int]] = {}
        for verdict in recorded:
            for point, passages in verdict.passed.items():
                first.setdefault(point, (verdict.cell.who, passages))
        cells = [
            Cell(
                who,
                (Strike(point, action, self._passage(passages)),),
                children=point in _CHILDREN or self._random.random() < _WITH_CHILDREN,
            )
            for point, (who, passages) in first.items()
            for action in ACTIONS
            if not (action == "cut" and point.endswith("connect:before"))
        ]
        self._random.shuffle(cells)
        return cells

    def earlier(self, done: Iterable[Verdict]) -> list[Cell]:
        """Those that did not come to their passage: once more, at the first."""
        return [
            replace(verdict.cell, strikes=(verdict.cell.strikes[0]._replace(passage=1),))
            for verdict in done
            if verdict.outcome == "not reached" and verdict.cell.strikes[0].passage > 1
        ]

    def second_cells(self, recorded: Iterable[Verdict], done: Iterable[Verdict]) -> list[Cell]:
        """Every point that only a harmed process passed, times every action, after the same first
        harm."""
        known = {point for verdict in recorded for point in verdict.passed}
        ways: dict[str, Cell] = {}
        for verdict in done:
            for point in verdict.passed:
                if point not in known and verdict.cell.strikes[0].action not in ("kill", "bug"):
                    ways.setdefault(point, verdict.cell)
        return [
            Cell(cell.who, (cell.strikes[0], Strike(point, action)), children=cell.children)
            for point, cell in ways.items()
            for action in ACTIONS
        ]

    def run(
        self, cells: Iterable[Cell], shown: Callable[[Verdict], None] = lambda verdict: None
    ) -> Iterator[Verdict]:
        """The verdicts, as they come."""
        futures = [self._pool.submit(rehearse, cell, self._dsn, self._template) for cell in cells]
        for future in as_completed(futures):
            verdict = future.result()
            shown(verdict)
            yield verdict

    def _passage(self, passages: int) -> int:
        return self._given or self._random.randint(1, min(passages, _LATEST))


def unreached(passed: Iterable[str]) -> list[str]:
    """The statements of pgqueue that a worker or an enqueuer may execute, and nobody did."""
    steps = {point.partition("/")[2].partition(":")[0] for point in passed}
    others = tuple(start for starts in ELSEWHERE.values() for start in starts)
    return [
        name for name in statements.names() if name not in steps and not name.startswith(others)
    ]
