"""Enqueue: new jobs become rows, in one statement."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from pgqueue.errors import IdempotencyConflict
from pgqueue.metadata import dump_metadata
from pgqueue.options import NOTHING_SAID, NewJob, Seconds, Unset, check, keeps, milliseconds
from pgqueue.storage.operation import Operation, query


class Enqueued(NamedTuple):
    """What became of one new job."""

    id: int
    """The job's id; that of the earlier job when there is one with the same key."""
    duplicate: bool
    """Whether an earlier job has the key, so that no new one was made."""
    conflict: bool
    """Whether that earlier job has other arguments."""


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
    if len(jobs) == 1:
        rows = yield from query("enqueue_job", **_values(jobs[0]), notify=notify, batch_id=batch_id)
    else:
        rows = yield from query("enqueue_jobs", **_arrays(jobs), notify=notify, batch_id=batch_id)
    enqueued = [Enqueued._make(row) for row in rows]
    if raise_on_conflict:
        for job, result in zip(jobs, enqueued, strict=True):
            if result.conflict:
                raise IdempotencyConflict(str(job.key), result.id, enqueued)
    return enqueued


def _values(job: NewJob) -> dict[str, Any]:
    """Turn one job into the parameters of one row."""
    values = dict(_NOTHING_SAID)
    if job[2:] != NOTHING_SAID:
        values = {option.one: option.of(job) for option in _OPTIONS}
    values["task"], values["args"] = job.task, job.args
    return values


def _arrays(jobs: Sequence[NewJob]) -> dict[str, list[Any]]:
    """Turn jobs into arrays; an option that no job sets is an empty array, which costs nothing."""
    arrays: dict[str, list[Any]] = {option.many: [] for option in _OPTIONS}
    if any(job[2:] != NOTHING_SAID for job in jobs):
        for option in _OPTIONS:
            values = [option.of(job) for job in jobs]
            if any(value is not None for value in values):
                arrays[option.many] = values
    arrays["tasks"] = [job.task for job in jobs]
    arrays["args"] = [job.args for job in jobs]
    return arrays


def timeout_ms(timeout: Seconds | Unset | None) -> int | None:
    """Return the timeout as the schema has it: NULL is "not said", -1 is without limit."""
    if isinstance(timeout, Unset):
        return None
    return -1 if timeout is None else milliseconds(timeout, "timeout")


def _ms(duration: Seconds | None, name: str) -> int | None:
    return None if duration is None else milliseconds(duration, name)


def _metadata(job: NewJob) -> str | None:
    return None if job.metadata is None else dump_metadata(job.metadata)


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
    _Option("metadata", "metadatas", lambda job: _metadata(job)),
    _Option("on_dead_task", "on_dead_tasks", lambda job: job.on_dead_task),
    _Option(
        "keep_cancelled_ms", "keeps_cancelled_ms", lambda job: _ms(keeps(job).cancelled, "keep")
    ),
    _Option("keep_dead_ms", "keeps_dead_ms", lambda job: _ms(keeps(job).dead, "keep")),
)
_NOTHING_SAID: Mapping[str, Any] = {option.one: None for option in _OPTIONS}
