"""Trials: the named tests, run on a copy of the checkout by a process of its own, for a bounded
time."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.mutants.mutant import ROOT, Mutant
from tests.mutants.witness import TESTIMONY

LIMIT = 240.0
"""Seconds that one trial may take; one is done in ten on a quiet machine."""
_LEFT_OUT = shutil.ignore_patterns(".*", "*-pytest-*.pyc")
_SHOWN = 1500
_running: set[subprocess.Popen[str]] = set()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of a trial."""

    name: str
    outcome: str
    """``caught``; else ``survived``, ``wrong reason``, ``timed out`` or ``did not run``."""
    by: str | None
    """The test that caught it."""
    seconds: float
    why: str = ""
    """Of one that was not caught: what there is to know."""

    @property
    def is_caught(self) -> bool:
        return self.outcome == "caught"


@dataclass(frozen=True, slots=True)
class Run:
    """What a run of pytest left behind."""

    entries: list[dict[str, Any]]
    exit_code: int | None
    """None: it was ended because its time was up."""
    output: str
    seconds: float

    def of(self, test: str) -> list[dict[str, Any]]:
        """What is known of a test, of all cases of one with parameters."""
        return [e for e in self.entries if e["test"] == test or e["test"].startswith(f"{test}[")]


def try_mutant(mutant: Mutant, dsn: str, *, limit: float = LIMIT) -> Verdict:
    """Put *mutant* into a copy and run its tests, on the server at *dsn*. Raises
    :class:`Misfit`."""
    with copy() as tree:
        mutant.apply(tree)
        return judge(mutant, run_tests(tree, mutant.caught_by, dsn, limit=limit))


def try_unchanged(tests: Sequence[str], dsn: str, *, limit: float) -> dict[str, str]:
    """Run *tests* on an unchanged copy; return why each that did not pass did not."""
    with copy() as tree:
        run = run_tests(tree, tests, dsn, limit=limit)
    failed = {}
    for test in tests:
        seen = run.of(test)
        if not any(e["phase"] == "call" for e in seen) or any(
            e["outcome"] != "passed" for e in seen
        ):
            failed[test] = _said(seen) or run.output[-_SHOWN:] or "it did not run"
    return failed


def judge(mutant: Mutant, run: Run) -> Verdict:
    """Say what became of *mutant*: it is caught if every test named failed as it should."""
    right = {"AssertionError", *mutant.fails_with}
    for test in mutant.caught_by:
        outcome, why = _fate(run, test, right)
        if outcome != "caught":
            break
    by = mutant.caught_by[0] if outcome == "caught" else None
    return Verdict(name=mutant.name, outcome=outcome, by=by, seconds=run.seconds, why=why)


@contextmanager
def copy() -> Iterator[Path]:
    """A copy of the checkout, without what was made in it; gone at the end."""
    with tempfile.TemporaryDirectory(
        prefix="pgqueue-mutant-", ignore_cleanup_errors=True
    ) as directory:
        tree = Path(directory).resolve() / "tree"
        shutil.copytree(ROOT, tree, ignore=_LEFT_OUT)
        yield tree


def run_tests(tree: Path, tests: Sequence[str], dsn: str, *, limit: float) -> Run:
    """Run *tests* of the checkout at *tree*; end everything that belongs to it after *limit*
    seconds."""
    testimony = tree.parent / "testimony"
    testimony.unlink(missing_ok=True)
    options = ["-q", "-p", "no:cacheprovider", "-p", "tests.mutants.witness", "--tb=short"]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        "PYTHONPATH": str(tree),
        "PGQUEUE_TEST_DSN": dsn,
        TESTIMONY: str(testimony),
    }
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *options, *tests],
        cwd=tree,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    _running.add(process)
    code: int | None
    try:
        output, _ = process.communicate(timeout=limit)
        code = process.returncode
    except subprocess.TimeoutExpired:
        output, code = _end(process), None
    except BaseException:
        _end(process)
        raise
    finally:
        _running.discard(process)
    seconds = time.monotonic() - began
    lines = testimony.read_text(encoding="utf-8").splitlines() if testimony.exists() else []
    return Run([json.loads(line) for line in lines], code, output, seconds)


def end_all() -> None:
    """End the trials that other threads have under way, and all that belongs to them."""
    for process in list(_running):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _end(process: subprocess.Popen[str]) -> str:
    """Kill the process and all of its group; return what it had printed."""
    os.killpg(process.pid, signal.SIGKILL)
    return process.communicate()[0]


def _fate(run: Run, test: str, right: set[str]) -> tuple[str, str]:
    """Return what became of a mutant according to *test*, and why: it is caught if the test itself,
    not what prepares it, failed with one of the *right* kinds of error."""
    seen = run.of(test)
    calls = [e for e in seen if e["phase"] == "call"]
    failed = [e for e in calls if e["outcome"] == "failed"]
    if any(e["kinds"] and right.issuperset(e["kinds"]) for e in failed):
        return "caught", ""
    if failed:
        return "wrong reason", _said(failed)
    if run.exit_code is None:
        return "timed out", run.output[-_SHOWN:]
    if not calls:
        return "did not run", _said(seen) or run.output[-_SHOWN:]
    return "survived", f"{test} passed"


def _said(entries: Sequence[dict[str, Any]]) -> str:
    told = [e for e in entries if e["outcome"] != "passed"]
    return "; ".join(f"{e['test']}: {', '.join(e['kinds'])}: {e['message']}" for e in told[:3])
