"""A plugin of the pytest that runs a copy of the checkout: sees to it that the copy is what runs,
and writes down how each test ended.

``PGQUEUE_WITNESS`` names the file: a line of JSON for each phase of a test.
"""

import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

TESTIMONY = "PGQUEUE_WITNESS"


def pytest_configure(config: pytest.Config) -> None:
    import pgqueue
    from pgqueue import migrate, statements
    from tests.command import environment

    here = Path(__file__).resolve().parents[2]
    assert config.rootpath.resolve() == here, config.rootpath
    assert environment(None)["PYTHONPATH"] == str(here), "processes would run something else"
    for place in (pgqueue.__file__, statements.__file__, migrate.revisions.location()):
        assert Path(place).resolve().is_relative_to(here), f"{place} is not of the copy in {here}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    error = call.excinfo.value if call.excinfo is not None else None
    entry = {
        "test": item.nodeid,
        "phase": report.when,
        "outcome": report.outcome,
        "kinds": [] if error is None else _kinds(error),
        "message": "" if error is None else str(error)[:500],
    }
    with Path(os.environ[TESTIMONY]).open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")
    return report


def _kinds(error: BaseException) -> list[str]:
    """The names of what was raised; of a group, of all that is in it."""
    if isinstance(error, BaseExceptionGroup):
        return sorted({kind for each in error.exceptions for kind in _kinds(each)})
    if isinstance(error, (AssertionError, pytest.fail.Exception)):
        return ["AssertionError"]
    return [type(error).__name__]
