"""What a test asks of the queue inside its own transaction, beside what a worker would."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from pgqueue.storage.operation import Operation, query


class EnqueuedRow(NamedTuple):
    """A job that was enqueued; what is JSON is still text."""

    id: int
    task: str
    args: str
    queue: str
    state: str
    priority: int
    attempt: int
    max_attempts: int
    created_at: datetime
    run_at: datetime
    key: str | None
    actor: str | None
    metadata: str | None
    scheduled_for: datetime | None
    batch_id: int | None


def list_enqueued(tasks: Sequence[str] | None) -> Operation[list[EnqueuedRow]]:
    """Return the jobs of *tasks*, or of all, over or not, in the order of their enqueue."""
    rows = yield from query("list_enqueued", tasks=None if tasks is None else list(tasks))
    return [EnqueuedRow._make(row) for row in rows]


def stop_clock(at: datetime | None = None) -> Operation[datetime]:
    """Stop the transaction's clocks at a moment, or at the present; return where they stand. They
    never go back."""
    rows = yield from query("stop_clock", at=at)
    moment: datetime = rows[0][0]
    return moment


def find_next_moment() -> Operation[datetime | None]:
    """Return when the next job or tick of a schedule is due, later than now, if there is one."""
    rows = yield from query("find_next_moment")
    moment: datetime | None = rows[0][0]
    return moment


def find_next_queue(*, tasks: Sequence[str], queues: Sequence[str] | None) -> Operation[str | None]:
    """Return the queue of the most urgent job of *tasks* that can be claimed, if there is one."""
    rows = yield from query(
        "find_next_queue", tasks=list(tasks), queues=None if queues is None else list(queues)
    )
    return str(rows[0][0]) if rows else None
