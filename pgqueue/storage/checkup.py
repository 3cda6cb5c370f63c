"""Checks: what is not broken yet, and what a person may do about it. Reads only, bounded."""

from collections.abc import Callable
from typing import Any, NamedTuple

from pgqueue.storage.operation import Operation, query

SAMPLE = 50_000
"""So many finished jobs are looked at, the newest."""
FEWEST = 20
"""A task with fewer jobs in the sample is not judged."""


class Finding(NamedTuple):
    """Something a person should know, in a sentence that says what to do."""

    check: str
    """The name of the check that found it."""
    subject: str
    """The task, queue or whatever else it is about."""
    text: str
    figures: dict[str, Any]
    """What the sentence says, for programs."""


Check = Callable[[], Operation[list[Finding]]]


def slow_tasks() -> Operation[list[Finding]]:
    """Find tasks that take longer than their ``target_runtime``."""
    rows = yield from query("find_slow_tasks", limit=SAMPLE, fewest=FEWEST)
    return [
        Finding(
            "slow_tasks",
            task,
            f"p95 of {task} is {p95:.3g} s over {jobs} jobs; its target is {target:g} s: split it",
            {"jobs": jobs, "p95": p95, "target": target},
        )
        for task, jobs, target, p95 in rows
    ]


CHECKS: tuple[Check, ...] = (slow_tasks,)


def examine() -> Operation[list[Finding]]:
    """Run every check; return what they found."""
    findings: list[Finding] = []
    for check in CHECKS:
        findings += yield from check()
    return findings
