"""Note down what running jobs say of themselves. Fenced by (id, attempt, worker_id)."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pgqueue import statements
from pgqueue.notes import Said
from pgqueue.storage.operation import Operation, Statement, query


def notes(said: Sequence[Said], *, worker_id: str, moment: float) -> list[Statement]:
    """Return the statements that write *said*: none, one or two.

    *moment* is the present on the clock that the lines were stamped by.
    """
    states = [each for each in said if each.report or each.checkpoint is not None]
    written = []
    if states:
        written.append(_progress(states, worker_id))
    if any(each.lines for each in said):
        written.append(_lines(said, worker_id, moment))
    return written


def write(said: Sequence[Said], *, worker_id: str, moment: float) -> Operation[None]:
    """Write *said*. What belongs to attempts that are no longer ours is dropped."""
    for statement in notes(  # noqa: UP028  a list cannot be sent the rows
        said, worker_id=worker_id, moment=moment
    ):
        yield statement


class Pruned(NamedTuple):
    """What one window of a prune came to."""

    pruned: int
    looked_at: int
    last: int | None
    """The job where the window ended."""


def prune_progress(*, after: int, limit: int) -> Operation[Pruned]:
    """Of the next *limit* jobs with progress after job *after*, forget those that are over."""
    rows = yield from query("prune_progress", after=after, limit=limit)
    return Pruned._make(rows[0])


def _progress(said: Sequence[Said], worker_id: str) -> Statement:
    reports = [each.report for each in said]
    return Statement(
        statements.load("write_progress"),
        {
            "worker_id": worker_id,
            "ids": [each.job.id for each in said],
            "attempts": [each.job.attempt for each in said],
            "dones": [report and report.done for report in reports],
            "totals": [report and report.total for report in reports],
            "details": [report and report.detail for report in reports],
            "checkpoints": [each.checkpoint for each in said],
        },
    )


def _lines(said: Iterable[Said], worker_id: str, moment: float) -> Statement:
    lines = [
        (each.job, number, line)
        for each in said
        for number, line in enumerate(each.lines, each.first)
    ]
    return Statement(
        statements.load("append_logs"),
        {
            "worker_id": worker_id,
            "ids": [job.id for job, _, _ in lines],
            "attempts": [job.attempt for job, _, _ in lines],
            "numbers": [number for _, number, _ in lines],
            "ages_us": [int((moment - (line.at or moment)) * 1_000_000) for _, _, line in lines],
            "levels": [line.level for _, _, line in lines],
            "messages": [line.message for _, _, line in lines],
            "fields": [line.fields for _, _, line in lines],
        },
    )
