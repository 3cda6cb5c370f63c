"""What people do to jobs and queues. Each verb is an SQL function, which judges and audits."""

from collections.abc import Sequence
from typing import NamedTuple

from pgqueue.job import State
from pgqueue.storage.operation import Operation, Row, query


class Done(NamedTuple):
    """What a verb came to for one job."""

    id: int
    ok: bool
    answer: str
    """``unknown``: there is no such job. ``busy``: its row is being written; try again. Otherwise
    what became of it, or the state that forbids it."""


def cancel(
    ids: Sequence[int], *, actor: str | None = None, reason: str | None = None
) -> Operation[list[Done]]:
    """Cancel waiting jobs (``cancelled``), and ask the workers of running ones (``requested``)."""
    rows = yield from query("call_cancel", ids=list(ids), actor=actor, reason=reason)
    return _done(rows, good=("cancelled", "requested"))


def retry(
    ids: Sequence[int],
    *,
    args: str | None = None,
    actor: str | None = None,
    reason: str | None = None,
) -> Operation[list[Done]]:
    """Make dead or scheduled jobs ``available`` now, with other *args* (JSON) if given."""
    rows = yield from query("call_retry", ids=list(ids), args=args, actor=actor, reason=reason)
    return _done(rows, good=("available",), wanted=(State.DEAD, State.SCHEDULED))


def discard(
    ids: Sequence[int], *, actor: str | None = None, reason: str | None = None
) -> Operation[list[Done]]:
    """Give up dead jobs for good (``discarded``)."""
    rows = yield from query("call_discard", ids=list(ids), actor=actor, reason=reason)
    return _done(rows, good=("discarded",), wanted=(State.DEAD,))


def edit(
    job_id: int, *, args: str, actor: str | None = None, reason: str | None = None
) -> Operation[Done]:
    """Give a job that is not running other *args*, as JSON (``edited``)."""
    rows = yield from query("call_edit", id=job_id, args=args, actor=actor, reason=reason)
    waiting = (State.BLOCKED, State.SCHEDULED, State.AVAILABLE, State.DEAD)
    return _done(rows, good=("edited",), wanted=waiting)[0]


def pause(queue: str, *, actor: str | None = None, reason: str | None = None) -> Operation[None]:
    """Have no more jobs of *queue* claimed; those that run, run on."""
    yield from query("call_pause", queue=queue, actor=actor, reason=reason)


def resume(queue: str, *, actor: str | None = None, reason: str | None = None) -> Operation[None]:
    """Have the jobs of *queue* claimed again."""
    yield from query("call_resume", queue=queue, actor=actor, reason=reason)


def set_queue(
    queue: str, settings: str, *, actor: str | None = None, reason: str | None = None
) -> Operation[None]:
    """Set what jobs of *queue* get that nobody says otherwise: a JSON object, as the SQL function
    ``pgqueue.set_queue()`` documents it."""
    yield from query("call_set_queue", queue=queue, settings=settings, actor=actor, reason=reason)


def adopt(*, actor: str | None = None) -> Operation[None]:
    """Say that the jobs in this database belong here."""
    yield from query("call_adopt", actor=actor)


def _done(rows: Sequence[Row], *, good: Sequence[str], wanted: Sequence[str] = ()) -> list[Done]:
    """A job in a state the verb wants, that it did not touch all the same, was locked."""
    return [
        Done(job_id, answer in good, "busy" if answer in wanted else answer)
        for job_id, answer in rows
    ]
