"""What a cell came to, read from the report that pytest writes."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

Result = Literal["passed", "failed", "skipped"]
SHOWN = ("server", "Python", "psycopg", "libpq", "sqlalchemy", "alembic", "click", "croniter")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """*why*: what kept it from being run, or from coming to its end."""

    cell: str
    suite: str
    result: Result
    seconds: float = 0.0
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    versions: dict[str, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    skips: dict[str, int] = field(default_factory=dict)
    why: str = ""


def read(report: Path, *, cell: str, suite: str, seconds: float, ended: str) -> Outcome:
    """*ended*: what is wrong with how pytest ended, if anything is."""
    cases = list(ElementTree.parse(report).iter("testcase")) if report.exists() else []
    broken = [case for case in cases if _has(case, "failure") or _has(case, "error")]
    skipped = [case for case in cases if _has(case, "skipped")]
    versions = _versions(report) if cases else {}
    why = ended or ("" if versions else "the run does not say which versions it had")
    return Outcome(
        cell=cell,
        suite=suite,
        result="failed" if broken or why else "passed",
        seconds=seconds,
        passed=len(cases) - len(broken) - len(skipped),
        failed=len(broken),
        skipped=len(skipped),
        versions=versions,
        failures=[f"{case.get('classname')}::{case.get('name')}" for case in broken],
        skips=dict(Counter(_reason(case) for case in skipped)),
        why=why,
    )


def _has(case: ElementTree.Element, what: str) -> bool:
    return case.find(what) is not None


def _reason(case: ElementTree.Element) -> str:
    skip = case.find("skipped")
    return "" if skip is None else skip.get("message", "")


def _versions(report: Path) -> dict[str, str]:
    return {
        each.get("name", "").removeprefix("version: "): each.get("value", "")
        for each in ElementTree.parse(report).iter("property")
        if each.get("name", "").startswith("version: ")
    }
