"""Enqueue: new jobs become rows, in one statement."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from weakref import ref

from psycopg.pq import TransactionStatus

from pgqueue.context import present_actor
from pgqueue.errors import IdempotencyConflict
from pgqueue.metadata import dump_metadata
from pgqueue.options import (
    NOTHING_SAID,
    NewJob,
    Rules,
    Seconds,
    Unset,
    check,
    examine,
    keeps,
    milliseconds,
)
from pgqueue.storage.arrays import texts
from pgqueue.storage.operation import Operation, query


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
    order. What a handler enqueues runs for whom the handler's own job runs, unless it says."""
    if not new_jobs:
        return []
    jobs = [check(job) for job in new_jobs]
    actor = present_actor()
    if actor is not None:
        jobs = [of_actor(job, actor) for job in jobs]
    ids: list[int | None] = []
    if examine(jobs):
        jobs, ids = yield from _sealed(jobs)
    if len(jobs) == 1 and not ids:
        rows = yield from query("enqueue_job", **_values(jobs[0]), notify=notify, batch_id=batch_id)
    else:
        rows = yield from query(
            "enqueue_jobs", **_arrays(jobs), notify=notify, batch_id=batch_id, given_ids=ids
        )
    enqueued = [Enqueued(*row) for row in rows]
    if raise_on_conflict:
        for job, result in zip(jobs, enqueued, strict=True):
            if result.conflict:
                raise IdempotencyConflict(str(job.key), result.id, enqueued)
    return enqueued


def of_actor(job: NewJob, actor: str | None) -> NewJob:
    """Return *job* as that *actor*'s, unless it is somebody's already."""
    return job if actor is None or job.actor is not None else job._replace(actor=actor)


def stored(job: NewJob) -> str:
    """Return *job* as JSON that ``pgqueue.enqueue_stored()`` makes a job of, some day."""
    examine([check(job)])
    said = {name: value for name, value in _values(_seal(job, None)).items() if value is not None}
    return json.dumps(said, ensure_ascii=False, default=datetime.isoformat)


def _sealed(jobs: Sequence[NewJob]) -> Operation[tuple[list[NewJob], list[int | None]]]:
    """Encrypt what is to be. What is encrypted is bound to the id of its job, so that is drawn
    beforehand: the one enqueue that takes two statements."""
    encrypted = [n for n, job in enumerate(jobs) if job.rules and job.rules.sealer]
    if not encrypted:
        return list(jobs), []
    rows = yield from query("draw_ids", count=len(encrypted))
    ids: list[int | None] = [None] * len(jobs)
    for n, (job_id,) in zip(encrypted, rows, strict=True):
        ids[n] = job_id
    return [_seal(job, job_id) for job, job_id in zip(jobs, ids, strict=True)], ids


def _seal(job: NewJob, job_id: int | None) -> NewJob:
    sealer = job.rules.sealer if job.rules else None
    if sealer is None:
        return job
    return job._replace(args=sealer.seal_arguments(job.args, job.task, job_id))


def _values(job: NewJob) -> dict[str, Any]:
    """Turn one job into the parameters of one row."""
    values = dict(_NOTHING_SAID)
    if job[2:] != NOTHING_SAID:
        values = {option.one: option.of(job) for option in _OPTIONS}
    values["task"], values["args"] = job.task, job.args
    return values


def _arrays(jobs: Sequence[NewJob]) -> dict[str, Any]:
    """Turn jobs into arrays; an option that no job sets is an empty array, which costs nothing."""
    arrays: dict[str, Any] = {option.many: [] for option in _OPTIONS}
    if any(job[2:] != NOTHING_SAID for job in jobs):
        for option in _OPTIONS:
            values = [option.of(job) for job in jobs]
            if any(value is not None for value in values):
                arrays[option.many] = values
    arrays["tasks"] = texts(job.task for job in jobs)
    arrays["args"] = texts(job.args for job in jobs)
    return arrays


def timeout_ms(timeout: Seconds | Unset | None) -> int | None:
    """Return the timeout as the schema has it: NULL is "not said", -1 is without limit."""
    if isinstance(timeout, Unset):
        return None
    return -1 if timeout is None else milliseconds(timeout, "timeout")


def _ms(duration: Seconds | None, name: str) -> int | None:
    return None if duration is None else milliseconds(duration, name)


def metadata_text(job: NewJob) -> str | None:
    """Return a job's metadata as JSON text. Raises :class:`InvalidOption` if it cannot be."""
    if job.metadata is None:
        return None
    text = dump_metadata(job.metadata)
    (job.rules or Rules()).guard.check(text, "metadata")
    return text


class _Option(NamedTuple):
    """An option, as a parameter for one job and for many, and how to read it off a job."""

    one: str
    many: str
    of: Callable[[NewJob], Any]


_OPTIONS = (
    _Option("queue", "queues", lambda job: job.queue),
    _Option("priority", "priorities", lambda job: job.priority),
    _Option("delay_ms", "delays_ms", lambda job: _ms(job.delay, "delay")),
    _Option("run_at", "run_ats", lambda job: job.run_at),
    _Option(
        "expires_at",
        "expire_ats",
        lambda job: job.expires if isinstance(job.expires, datetime) else None,
    ),
    _Option(
        "expires_in_ms",
        "expire_ins_ms",
        lambda job: None if isinstance(job.expires, datetime) else _ms(job.expires, "expires"),
    ),
    _Option("max_attempts", "max_attempts", lambda job: job.max_attempts),
    _Option("max_crashes", "max_crashes", lambda job: job.max_crashes),
    _Option("timeout_ms", "timeouts_ms", lambda job: timeout_ms(job.timeout)),
    _Option("keep_ms", "keeps_ms", lambda job: _ms(keeps(job).succeeded, "keep")),
    _Option("key", "keys", lambda job: job.key),
    _Option("key_ttl_ms", "key_ttls_ms", lambda job: _ms(job.key_ttl, "key_ttl")),
    _Option("actor", "actors", lambda job: job.actor),
    _Option("metadata", "metadatas", metadata_text),
    _Option("on_dead_task", "on_dead_tasks", lambda job: job.on_dead_task),
    _Option(
        "keep_cancelled_ms", "keeps_cancelled_ms", lambda job: _ms(keeps(job).cancelled, "keep")
    ),
    _Option("keep_dead_ms", "keeps_dead_ms", lambda job: _ms(keeps(job).dead, "keep")),
)
_NOTHING_SAID: Mapping[str, Any] = {option.one: None for option in _OPTIONS}
