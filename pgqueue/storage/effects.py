"""Write down what handlers do outside, and list it. Fenced by (id, attempt, worker_id) and call."""

from datetime import datetime
from typing import Any, NamedTuple

from pgqueue.effects import Answer, Entry, Found, Word
from pgqueue.job import Job
from pgqueue.storage.operation import Operation, query

_LOOKS = 3
"""So often is looked for a row that came or went in between."""


class Effect(NamedTuple):
    """Something that was begun outside."""

    task: str
    key: str
    state: str
    """``running``, ``unknown`` or ``done``."""
    job_id: int
    attempt: int
    started_at: datetime
    done_at: datetime | None
    now: datetime


def enter(job: Job, entry: Entry, *, worker_id: str) -> Operation[Answer]:
    """Write down *entry* about an effect of *job*; return what is known then."""
    if entry.word in (Word.DONE, Word.UNDONE):
        return (yield from _end(job, entry, worker_id))
    for _ in range(_LOOKS):
        rows = yield from query(
            "begin_effect",
            **_of(job, entry, worker_id),
            keep_ms=entry.keep_ms,
            over=entry.over,
            happened=entry.word is Word.HAPPENED,
        )
        mine, begun, state, call, job_id, attempt, runs = rows[0]
        if not mine:
            return Answer(Found.LOST)
        if begun:
            return Answer(Found.DONE if entry.word is Word.HAPPENED else Found.FIRST)
        if state == "done":
            return Answer(Found.DONE)
        if state is not None:
            is_own = (job_id, attempt) == (job.id, job.attempt)
            found = Found.RUNNING if runs and not is_own else Found.UNKNOWN
            return Answer(found, call, job_id, attempt)
        # Somebody wrote it down, or took it away, since the statement's snapshot.
        entry = entry._replace(word=Word.BEGIN, over=None)
    return Answer(Found.RUNNING)


def list_effects(*, unknown: bool, limit: int) -> Operation[list[Effect]]:
    """Return what was begun outside, the latest first; *unknown*: only what nobody knows of."""
    rows = yield from query("list_effects", unknown=unknown, limit=limit)
    return [Effect._make(row) for row in rows]


def resolve(
    task: str, key: str, *, happened: bool, actor: str | None = None, reason: str | None = None
) -> Operation[str]:
    """Say whether an effect *happened*; return ``resolved``, or why that cannot be said:
    ``running``, ``done``, ``unknown``."""
    rows = yield from query(
        "call_resolve_effect", task=task, key=key, happened=happened, actor=actor, reason=reason
    )
    return str(rows[0][0])


def _end(job: Job, entry: Entry, worker_id: str) -> Operation[Answer]:
    rows = yield from query(
        "end_effect",
        **_of(job, entry, worker_id),
        happened=entry.word is Word.DONE,
        anyway=entry.anyway,
    )
    return Answer(Found.DONE if rows[0][0] else Found.LOST)


def _of(job: Job, entry: Entry, worker_id: str) -> dict[str, Any]:
    return {
        "id": job.id,
        "attempt": job.attempt,
        "worker_id": worker_id,
        "task": job.task,
        "key": entry.key,
        "call": entry.call,
    }
