"""Enqueue: new jobs become rows, in one statement."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from weakref import ref

from psycopg.pq import TransactionStatus

from pgqueue.errors import IdempotencyConflict, InvalidOption
from pgqueue.options import NewJob, Seconds, Unset, check, keeps, milliseconds
from pgqueue.storage.operation import Operation, query

_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


@dataclass(slots=True, unsafe_hash=True)  # a bulk enqueue makes thousands: frozen ones cost double
class Enqueued:
    """What became of one new job; what a :class:`Waiter` waits for.

    It remembers the psycopg connection it came from, weakly and in this process alone: who waits
    inside the transaction that enqueued the job would wait for ever.
    """

    id: int
    """The job's id; that of the earlier job when there is one with the same key."""
    duplicate: bool
    """Whether an earlier job has the key, so that no new one was made."""
    conflict: bool
    """Whether that earlier job has other arguments."""
    _origin: "ref[Any] | None" = field(default=None, init=False, repr=False, compare=False)

    @property
    def inserted(self) -> bool:
        """Whether a new job was made."""
        return not self.duplicate

    @property
    def is_in_transaction(self) -> bool:
        """Whether the connection that it was enqueued on has a transaction open."""
        connection = None if self._origin is None else self._origin()
        return (
            connection is not None
            and not connection.closed
            and connection.info.transaction_status != TransactionStatus.IDLE
        )

    def __reduce__(self) -> tuple[type, tuple[int, bool, bool]]:
        """A pickle or a copy of it remembers no connection."""
        return Enqueued, (self.id, self.duplicate, self.conflict)


def remember(enqueued: Sequence[Enqueued], connection: Any) -> None:
    """Have each remember the psycopg *connection* on which it was enqueued."""
    origin = ref(connection)
    for each in enqueued:
        each._origin = origin


def enqueue(
    new_jobs: Sequence[NewJob],
    *,
    notify: bool = True,
    raise_on_conflict: bool = False,
    batch_id: int | None = None,
) -> Operation[list[Enqueued]]:
    """Insert *new_jobs*, as part of a batch if one is given; return what became of each, in their
    order."""
    if not new_jobs:
        return []
    jobs = [check(job) for job in new_jobs]
    rows = yield from query("enqueue_jobs", **_columns(jobs), notify=notify, batch_id=batch_id)
    enqueued = [Enqueued(*row) for row in rows]
    if raise_on_conflict:
        for job, result in zip(jobs, enqueued, strict=True):
            if result.conflict:
                raise IdempotencyConflict(str(job.key), result.id)
    return enqueued


def _columns(jobs: Sequence[NewJob]) -> dict[str, list[Any]]:
    """Turn jobs into arrays; an option that no job sets is an empty array, which costs nothing."""
    kept = [keeps(job) for job in jobs]
    return {
        "tasks": [job.task for job in jobs],
        "args": [job.args for job in jobs],
        "queues": _column([job.queue for job in jobs]),
        "priorities": _column([job.priority for job in jobs]),
        "delays_ms": _column([_ms(job.delay, "delay") for job in jobs]),
        "run_ats": _column([job.run_at for job in jobs]),
        "expire_ats": _column(
            [job.expires if isinstance(job.expires, datetime) else None for job in jobs]
        ),
        "expire_ins_ms": _column(
            [
                None if isinstance(job.expires, datetime) else _ms(job.expires, "expires")
                for job in jobs
            ]
        ),
        "max_attempts": _column([job.max_attempts for job in jobs]),
        "max_crashes": _column([job.max_crashes for job in jobs]),
        "timeouts_ms": _column([timeout_ms(job.timeout) for job in jobs]),
        "keeps_ms": _column([_ms(keep.succeeded, "keep") for keep in kept]),
        "keeps_cancelled_ms": _column([_ms(keep.cancelled, "keep") for keep in kept]),
        "keeps_dead_ms": _column([_ms(keep.dead, "keep") for keep in kept]),
        "keys": _column([job.key for job in jobs]),
        "key_ttls_ms": _column([_ms(job.key_ttl, "key_ttl") for job in jobs]),
        "actors": _column([job.actor for job in jobs]),
        "metadatas": _column([_metadata(job) for job in jobs]),
        "on_dead_tasks": _column([job.on_dead_task for job in jobs]),
    }


def timeout_ms(timeout: Seconds | Unset | None) -> int | None:
    """Return the timeout as the schema has it: NULL is "not said", -1 is without limit."""
    if isinstance(timeout, Unset):
        return None
    return -1 if timeout is None else milliseconds(timeout, "timeout")


def _column(values: list[Any]) -> list[Any]:
    return values if any(value is not None for value in values) else []


def _ms(duration: Seconds | None, name: str) -> int | None:
    return None if duration is None else milliseconds(duration, name)


def _metadata(job: NewJob) -> str | None:
    if job.metadata is None:
        return None
    try:
        text = json.dumps(dict(job.metadata), allow_nan=False, ensure_ascii=False)
        text.encode()
    except (TypeError, ValueError) as error:
        raise InvalidOption("metadata", f"must be plain JSON values: {error}") from None
    if _NUL.search(text):
        raise InvalidOption("metadata", "must not contain NUL: no query could look into it")
    return text
