"""What a person asks about jobs: why one does not run, what happened to it, who did what, and what
the dead have died of. Reads only, by indexes, and never without bound."""

import json
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from pgqueue.errors import InvalidOption
from pgqueue.job_filter import When
from pgqueue.storage.operation import Operation, Row, query

GROUPED_AMONG = 10_000
"""So many latest deaths are grouped."""


class Obstacle(NamedTuple):
    """A reason why a job is not running, in words that a person can act on."""

    reason: str
    detail: str


class StoryEvent(NamedTuple):
    """Something that happened to a job."""

    at: datetime
    event: str
    attempt: int | None
    actor: str | None
    worker: str | None
    detail: str | None
    now: datetime


class TrailEvent(NamedTuple):
    """Something that an actor caused, or that was done to a job or a queue."""

    at: datetime
    actor: str | None
    """Whom the job runs for; not said of a verb that was asked for as such."""
    action: str
    job_id: int | None
    task: str | None
    queue: str | None
    attempt: int | None
    done_by: str | None
    """The person, or the worker's id; None: pgqueue itself."""
    db_user: str | None
    reason: str | None


class DeadGroup(NamedTuple):
    """Jobs that died of the same error."""

    fingerprint: str | None
    error_type: str | None
    reasons: list[str]
    jobs: int
    first_seen: datetime
    last_seen: datetime
    tasks: list[str]
    queues: list[str]
    sample: str | None
    newest_ids: list[int]
    at_least: bool
    """Not all deaths were looked at: there may be more."""
    now: datetime


def explain_waiting(job_id: int) -> Operation[list[Obstacle]]:
    """Return why a job is not running."""
    rows = yield from query("explain_waiting", id=job_id)
    return [Obstacle._make(row) for row in rows]


def tell_story(job_id: int) -> Operation[list[StoryEvent]]:
    """Return what has happened to a job, in order; nothing if it is not known."""
    rows = yield from query("tell_story", id=job_id)
    return [StoryEvent._make(row) for row in rows]


def list_trail(
    *,
    actor: str | None = None,
    job_id: int | None = None,
    by: str | None = None,
    since: When | None = None,
    until: When | None = None,
    limit: int,
) -> Operation[list[TrailEvent]]:
    """Return what an *actor* caused or what happened to a job, and who did it (*by*: only what that
    one did), the oldest first. With neither, what people did, the latest first."""
    statement = "list_verbs"
    if job_id is not None:
        statement = "list_trail_of_job"
    elif actor is not None:
        statement = "list_trail_of_actor"
    rows = yield from query(
        statement,
        actor=actor,
        job_id=job_id,
        by=by,
        limit=limit,
        **_moment("since", since),
        **_moment("until", until),
    )
    return [TrailEvent._make(row) for row in rows]


def group_dead(
    *,
    queue: str | None = None,
    task: str | None = None,
    since: When | None = None,
    limit: int = 100,
) -> Operation[list[DeadGroup]]:
    """Return up to *limit* groups of the dead, the latest death first."""
    rows = yield from query(
        "list_dead_groups",
        among=GROUPED_AMONG,
        queue=queue,
        task=task,
        limit=limit,
        **_moment("since", since),
    )
    return [_group(row) for row in rows]


def _group(row: Row) -> DeadGroup:
    group = DeadGroup._make(row)
    lists = ("reasons", "tasks", "queues", "newest_ids")
    return group._replace(**{name: json.loads(getattr(group, name)) for name in lists})


def _moment(name: str, when: When | None) -> dict[str, Any]:
    """A moment as it is; a length of time as such, to be counted back by the database's clock."""
    ago = when // timedelta(milliseconds=1) if isinstance(when, timedelta) else None
    moment = when if isinstance(when, datetime) else None
    if ago is not None and abs(ago) > 2**47:
        raise InvalidOption(name, "is too long ago")
    return {name: moment, f"{name}_ago_ms": ago}
