"""The mutants, and those who try them: see tests/mutants/. All of them: ``make mutants``."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.mutants import trial
from tests.mutants.mutant import Misfit, Mutant, read
from tests.mutants.run import main
from tests.mutants.table import one_line, summary
from tests.mutants.trial import Verdict, try_mutant, try_unchanged
from tests.postgres import eventually
from tests.process import running

TODAY = 2
"""So many are tried each day, so that a month sees all of them."""

# Run on a copy in which the first delay is 1 instead of 2.
PROMISES = """
import os, pathlib, subprocess, time
import pytest
from pgqueue.backoff import Exponential

DELAY = Exponential(jitter=0)(1)

def test_passes():
    assert DELAY < 3

def test_fails():
    assert DELAY == 2

@pytest.mark.parametrize("delay", [1, 2])
def test_fails_in_a_case(delay):
    assert DELAY == 2 or delay == 1

def test_expects_an_error_in_vain():
    with pytest.raises(ValueError):
        {2: int}.get(DELAY, str)("x")

def test_has_an_error_of_its_own():
    1 / (DELAY - 1)

@pytest.fixture
def preparation():
    assert DELAY == 2

def test_is_not_reached(preparation):
    pass

def test_fails_always():
    assert False

def test_does_not_end():
    if "PIDS" in os.environ:
        child = subprocess.Popen(["sleep", "600"])
        pathlib.Path(os.environ["PIDS"]).write_text(f"{os.getpid()} {child.pid}")
        time.sleep(600)
"""


def mutant(**changes: object) -> Mutant:
    given = {
        "name": "T1",
        "breaks": "the first delay",
        "file": "pgqueue/backoff.py",
        "before": "2.0 ** min(failures - 1, 60)",
        "after": "2.0 ** min(failures - 2, 60)",
        "caught_by": ("tests/test_promises.py::test_fails",),
    }
    return Mutant(**{**given, **changes})


MUTANTS = read()


@pytest.mark.parametrize("each", MUTANTS, ids=[each.name for each in MUTANTS])
def test_every_mutant_still_fits(each: Mutant) -> None:
    each.check()


def test_mutants_have_names_of_their_own() -> None:
    names = [each.name for each in MUTANTS]
    assert len(set(names)) == len(names)
    assert [name for name in names if name[0] == "M"] == [f"M{n}" for n in range(1, 31)]


def test_a_mutant_of_today_is_caught(pgqueue_server: str) -> None:
    first = datetime.now(UTC).date().toordinal() * TODAY
    today = [MUTANTS[(first + n) % len(MUTANTS)] for n in range(TODAY)]
    for each in today:
        verdict = try_mutant(each, pgqueue_server)
        print(one_line(each, verdict))
        assert verdict.is_caught, f"{each}: {verdict}\nmake mutants ARGS='--only {each.name}'"


def test_a_text_that_is_not_there_exactly_once_does_not_fit(tmp_path: Path) -> None:
    there = tmp_path / "pgqueue"
    there.mkdir()
    for text, said in (("a", "0 times"), ("old old", "2 times")):
        (there / "x.py").write_text(text)
        with pytest.raises(Misfit, match=f"mutant T1 no longer fits: .*{said}"):
            mutant(file="pgqueue/x.py", before="old").apply(tmp_path)
    with pytest.raises(Misfit, match=r"there is no pgqueue/y\.py"):
        mutant(file="pgqueue/y.py").apply(tmp_path)
    with pytest.raises(Misfit, match="changes nothing"):
        mutant(file="pgqueue/x.py", before="old old", after="old old").apply(tmp_path)


def test_a_test_that_is_gone_does_not_fit() -> None:
    with pytest.raises(Misfit, match=r"there is no test tests/test_backoff\.py::test_gone"):
        mutant(caught_by=("tests/test_backoff.py::test_gone",)).check()


@pytest.fixture(scope="module")
def promising() -> Iterator[Path]:
    """A copy with the bug in it, and a test file more."""
    with trial.copy() as tree:
        (tree / "tests" / "test_promises.py").write_text(PROMISES)
        mutant().apply(tree)
        yield tree


@pytest.fixture(scope="module")
def mutated(promising: Path, pgqueue_server: str) -> trial.Run:
    return trial.run_tests(promising, ["tests/test_promises.py"], pgqueue_server, limit=120)


@pytest.mark.parametrize(
    ("test", "outcome"),
    [
        ("passes", "survived"),
        ("fails", "caught"),
        ("fails_in_a_case", "caught"),
        ("fails_in_a_case[1]", "survived"),
        ("expects_an_error_in_vain", "caught"),
        ("has_an_error_of_its_own", "wrong reason"),
        ("is_not_reached", "did not run"),
        ("is_not_there", "did not run"),
    ],
)
def test_only_a_failed_assertion_of_the_named_test_catches(
    mutated: trial.Run, test: str, outcome: str
) -> None:
    named = mutant(caught_by=(f"tests/test_promises.py::test_{test}",))
    verdict = trial.judge(named, mutated)
    assert verdict.outcome == outcome
    assert verdict.is_caught == (verdict.by is not None) == (verdict.why == "")


def test_all_that_are_named_must_catch_it(mutated: trial.Run) -> None:
    tests = tuple(f"tests/test_promises.py::test_{test}" for test in ("fails", "passes"))
    assert trial.judge(mutant(caught_by=tests), mutated).outcome == "survived"


def test_an_error_that_was_foreseen_catches_as_well(mutated: trial.Run) -> None:
    test = "tests/test_promises.py::test_has_an_error_of_its_own"
    foreseen = mutant(caught_by=(test,), fails_with=("ZeroDivisionError",))
    assert trial.judge(foreseen, mutated).is_caught


def test_a_trial_that_does_not_end_is_ended_with_all_it_started(
    promising: Path, pgqueue_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids = tmp_path / "pids"
    monkeypatch.setenv("PIDS", str(pids))
    endless = mutant(caught_by=("tests/test_promises.py::test_does_not_end",))
    run = trial.run_tests(promising, endless.caught_by, pgqueue_server, limit=10)
    assert trial.judge(endless, run).outcome == "timed out"
    started = {int(pid) for pid in pids.read_text().split()}
    assert len(started) == 2
    eventually(lambda: not running(started))


def test_a_mutant_that_is_no_python_is_not_caught(pgqueue_server: str) -> None:
    broken = mutant(after="2.0 ** (", caught_by=("tests/test_backoff.py::test_jitter_is_a_part",))
    assert try_mutant(broken, pgqueue_server).outcome == "did not run"


def test_a_test_that_fails_unchanged_is_found_out(
    pgqueue_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine = trial.run_tests

    def run_tests(tree: Path, *given: Any, **options: Any) -> trial.Run:
        (tree / "tests" / "test_promises.py").write_text(PROMISES)
        return genuine(tree, *given, **options)

    monkeypatch.setattr(trial, "run_tests", run_tests)
    tests = [f"tests/test_promises.py::test_{name}" for name in ("fails", "fails_always")]
    assert try_unchanged(tests, pgqueue_server, limit=60).keys() == {tests[1]}


def test_what_was_not_caught_is_said_with_what_it_breaks() -> None:
    caught = Verdict(name="M1", outcome="caught", by="tests/test_x.py::test_y", seconds=1)
    survived = Verdict(name="D1", outcome="survived", by=None, seconds=1, why="test_y passed")
    assert summary([caught, survived], 2) == "caught: M 1/1, D 0/1 (2 s)"
    said = one_line(mutant(), survived)
    assert all(part in said for part in ("SURVIVED", "the first delay", "test_y passed"))
    assert max(map(len, one_line(mutant(), caught).splitlines())) <= 80


def test_a_mutant_that_does_not_exist_is_wrong_usage() -> None:
    result = CliRunner().invoke(main, ["--only", "M1,M77"])
    assert result.exit_code == 2
    assert "M77" in result.output
    listed = CliRunner().invoke(main, ["--list"]).output.splitlines()
    assert len(listed) == len(MUTANTS)
