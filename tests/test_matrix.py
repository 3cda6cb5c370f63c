"""The suite on other versions (``make matrix``): what it says it ran on, it ran on."""

import doctest
from pathlib import Path
from typing import Any

import click
import psycopg
import pytest

from tests.matrix import versions
from tests.matrix.cells import CELLS
from tests.matrix.environments import lowest
from tests.matrix.outcome import Outcome, read
from tests.matrix.report import table
from tests.matrix.run import choose
from tests.matrix.versions import expected, is_same
from tests.matrix.versions import versions as versions_of

REPORT = """<?xml version="1.0" encoding="utf-8"?>
<testsuites><testsuite><properties>
  <property name="version: server" value="15.18"/></properties>
  <testcase classname="tests.test_a" name="test_good"/>
  <testcase classname="tests.test_a" name="test_bad"><failure message="no"/></testcase>
  <testcase classname="tests.test_a" name="test_left"><skipped message="NO psql"/></testcase>
</testsuite></testsuites>"""


@pytest.mark.smoke
def test_this_run_has_the_versions_that_its_cell_is_for(
    connection: psycopg.Connection[Any], record_testsuite_property: Any
) -> None:
    found = versions_of(connection)
    for name, version in found.items():
        record_testsuite_property(f"version: {name}", version)
    wrong = {
        name: (found.get(name), wanted)
        for name, wanted in expected().items()
        if not is_same(found.get(name, ""), wanted)
    }
    assert wrong == {}


def test_versions_are_the_same_that_mean_the_same() -> None:
    assert doctest.testmod(versions).failed == 0


def test_every_dependency_has_a_lowest_version() -> None:
    assert {"alembic", "click", "croniter", "psycopg", "sqlalchemy", "tzdata"} <= set(lowest())


def test_the_matrix_covers_what_is_promised() -> None:
    full = {cell.postgres for cell in CELLS if cell.suite == "full"}
    assert full == {15, 18}
    assert {cell.postgres for cell in CELLS} == {15, 16, 17, 18}
    assert {cell.dependencies for cell in CELLS} == {"lowest", "highest"}


def test_cells_are_chosen_by_a_part_of_their_name() -> None:
    assert {cell.postgres for cell in choose(["pg16", "pg17"], smoke=False)} == {16, 17}
    assert {cell.suite for cell in choose([], smoke=True)} == {"smoke"}
    with pytest.raises(click.UsageError, match="no cell is called pg99; there are: pg15-"):
        choose(["pg99"], smoke=False)


def test_a_cell_with_a_failure_has_failed_and_says_which(tmp_path: Path) -> None:
    (tmp_path / "report.xml").write_text(REPORT)
    outcome = read(tmp_path / "report.xml", cell="pg15", suite="full", seconds=61.0, ended="")
    assert (outcome.result, outcome.passed, outcome.failed, outcome.skipped) == ("failed", 1, 1, 1)
    said = table([outcome]).splitlines()
    assert "  FAILED tests.test_a::test_bad" in said
    assert "  skipped 1 x NO psql" in said
    assert "  server 15.18" in said


@pytest.mark.parametrize("text", [None, REPORT.replace("version: ", ""), "<testsuites/>"])
def test_a_cell_that_does_not_say_what_it_ran_on_has_failed(
    tmp_path: Path, text: str | None
) -> None:
    if text:
        (tmp_path / "report.xml").write_text(text)
    outcome = read(tmp_path / "report.xml", cell="pg15", suite="full", seconds=1.0, ended="")
    assert outcome.result == "failed"
    assert outcome.why


def test_a_cell_that_cannot_be_run_is_skipped_loudly_and_fits_the_table() -> None:
    lines = table(
        [
            Outcome(cell=cell.name, suite=cell.suite, result="skipped", why="no npm")
            for cell in CELLS
        ]
    ).splitlines()
    assert max(map(len, lines)) <= 80
    assert sum("SKIPPED: no npm" in line for line in lines) == len(CELLS)
