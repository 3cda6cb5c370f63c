"""What has become of jobs and batches: read for those who wait for them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pgqueue.job import FINAL_STATES, State
from pgqueue.storage.batches import BatchStatus, find_batches
from pgqueue.storage.operation import Operation, query

RUNG = "pgqueue_done"
"""The channel on which finishing statements tell those who hold the bell."""

_OVER = frozenset({State.DEAD, *FINAL_STATES})


class Reading(NamedTuple):
    """A job as one read found it; what is JSON is still text."""

    id: int
    state: str
    task: str
    queue: str
    attempt: int
    failures: int
    max_attempts: int
    done: float | None
    total: float | None
    detail: str | None
    result: str | None
    reason: str | None
    error_type: str | None
    error: str | None

    @property
    def is_over(self) -> bool:
        """Whether nothing more becomes of it, unless a person redrives it."""
        return self.state in _OVER


def read_status(ids: Sequence[int]) -> Operation[dict[int, Reading]]:
    """Return those of *ids* that are in a table, in one snapshot."""
    rows = yield from query("read_status", ids=list(ids))
    return {row[0]: Reading._make(row) for row in rows}


@dataclass(frozen=True, slots=True)
class BatchReading:
    """A batch as one read found it. Two are equal if nothing has happened between them."""

    total: int
    done: int
    status: BatchStatus = field(compare=False)
    """All that was read; the clock, which always goes on, among it."""

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to run, unless a person redrives it."""
        return self.status.is_complete


def read_batches(ids: Sequence[int]) -> Operation[dict[int, BatchReading]]:
    """Return those of the batches *ids* that there are, in one snapshot."""
    found = yield from find_batches(ids)
    return {each.id: BatchReading(each.total, each.done, each) for each in found}


def hold_bell() -> Operation[bool]:
    """Have finishing statements notify :data:`RUNG`; return whether they will from now on."""
    rows = yield from query("hold_done_bell")
    return bool(rows[0][0])


def release_bell() -> Operation[None]:
    """Have finishing statements notify nobody on this session's behalf."""
    yield from query("release_done_bell")
