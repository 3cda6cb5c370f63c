"""The benchmark runs, counts what it says it counts, and is void when the work was not done."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import bare, counters, fused, results, store
from bench.clients import client_processes
from bench.counters import Counters
from bench.failure import Missing, Void
from bench.figure import OURS, Figure, gather
from bench.report import Report
from bench.sizes import QUICK
from bench.targets import verdicts


def test_a_quick_run_measures_and_writes_what_it_measured(dsn: str, tmp_path: Path) -> None:
    kept = tmp_path / "run.json"
    command = [sys.executable, "-m", "bench", "--quick", "--only", "drain", "--jobs", "300"]
    done = subprocess.run(
        [*command, "--dsn", dsn, "--json", str(kept)], capture_output=True, text=True, timeout=120
    )

    assert done.returncode == 0, done.stderr
    report = Report.load(kept)
    assert not report.problems
    assert all(line.values[OURS][0] > 0 for line in report.named("drain, "))
    assert (tmp_path / "run-drain.svg").read_text().startswith("<svg")


def test_a_job_that_is_left_makes_a_measure_void(dsn: str) -> None:
    bare.create(dsn)
    bare.insert_bulk(dsn, 10)
    with pytest.raises(Void, match="rows left"):
        bare.require_drained(dsn, 10)
    with pytest.raises(Void, match="0 jobs in history instead of 10"):
        store.require_finished(dsn, 10)


def test_the_bare_loops_do_all_of_the_work(dsn: str) -> None:
    with client_processes(2) as clients:
        bare.create(dsn)
        bare.insert_bulk(dsn, 1_000)
        clients.together(bare.drain, dsn, 100)
        bare.require_drained(dsn, 1_000)
        fused.create(dsn)
        fused.insert_bulk(dsn, 1_000)
        clients.together(fused.drain, dsn, 100)
        fused.require_drained(dsn, 1_000)


def test_a_client_that_fails_makes_a_measure_void(dsn: str) -> None:
    with client_processes(1) as clients, pytest.raises(Void, match="UndefinedTable"):
        clients.together(bare.drain, dsn, 10)


def test_every_call_of_a_handler_in_any_process_is_counted(tmp_path: Path) -> None:
    call = "from bench.counters import count; count(7); count(8); count(7)"
    variables = {**os.environ, counters.DIRECTORY: str(tmp_path), counters.STARTS: "1"}
    for _ in range(2):
        subprocess.run([sys.executable, "-c", call], env=variables, check=True)

    reader = Counters(tmp_path)
    assert reader.calls == 6
    assert set(reader.starts()) == {7, 8}
    assert reader.read().first == reader.starts()[7]


def test_figures_of_one_line_are_one_unit() -> None:
    (line,) = gather("m", [Figure("a", OURS, 3, "ms"), Figure("a", "bare", 2, "ms")])
    assert line.ratio("bare") == 1.5
    with pytest.raises(ValueError, match="jobs/s among ms"):
        gather("m", [Figure("a", OURS, 3, "ms"), Figure("a", OURS, 2, "jobs/s")])


def test_what_was_not_measured_is_neither_reached_nor_missed() -> None:
    report = Report({}, {"held_jobs": 1, "waiting": 1, "finished": 1, "memory_jobs": 1})
    found = list(verdicts(report, None))

    assert len(found) > 30
    assert {each.reached for each in found} == {None}


def test_a_result_names_nothing_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "DIRECTORY", tmp_path)
    monkeypatch.setattr(results, "RESULTS", tmp_path / "RESULTS.md")
    monkeypatch.setattr(results, "KEPT", {"bench": tmp_path / "bench.json"})
    sizes = {name: getattr(QUICK, name) for name in QUICK.__slots__}
    report = Report({"date": "today"}, sizes)
    report.lines = gather("drain", [Figure("drain, 1 worker", OURS, 2.0, "jobs/s")])
    report.fail("celery", Missing("/root/secret/place/pip failed: no such thing"))
    results.keep(report, "bench")

    text = (tmp_path / "RESULTS.md").read_text()
    assert "celery: … failed: no such thing" in text
    assert "drain, 1 worker" in text
    assert json.loads((tmp_path / "bench.json").read_text())["sizes"] == sizes
