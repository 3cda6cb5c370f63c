"""The jobs that actors meet in: something for each, so that most two have some in common."""

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

import psycopg

from pgqueue import Keep, NewJob
from pgqueue.failure import Failure
from pgqueue.job import Job, Reason
from pgqueue.outcome import Died, Outcome, Released
from pgqueue.storage import batches, finishing
from pgqueue.storage.batches import NewBatch
from pgqueue.storage.drivers import run
from pgqueue.storage.schedules import Seen
from pgqueue.timetable.misfire import Due, judge
from tests.rows import add, claim
from tests.scheduling import behind, look, now, save, tick_seen

Connection = psycopg.Connection[Any]

HOLDER = str(UUID(int=1))
"""The worker that holds what runs."""
PREDECESSOR = str(UUID(int=2))
"""The worker that had it before."""
OTHER = str(UUID(int=3))
"""A worker that comes for more."""
KEY = "over"
"""A key whose lifetime is over; its job is there still."""


class Scene(NamedTuple):
    """What is there before anybody acts."""

    held: list[Job]
    """Two running jobs, at their second attempt, of one batch. Their leases have run out, the
    second's first, and nobody has noticed."""
    stale: list[Job]
    """The same, as their first attempt knew them."""
    waiting: list[int]
    """Two available jobs, the second more urgent; the first has the key."""
    late: int
    """Available, and must not start any more."""
    due: list[int]
    """Two scheduled jobs that are due, the second for longer."""
    dead: int
    """The batch's third job."""
    forgotten: int
    """A dead job that was kept as long as it was to be."""
    batch: int
    ticking: tuple[Seen, Due]
    """A schedule that has a tick due and cancels its previous job, the first held. Another one's
    tick waits for the second held to be over."""

    @property
    def ids(self) -> list[int]:
        held = [job.id for job in self.held]
        return [*held, *self.waiting, self.late, *self.due, self.dead, self.forgotten]


def build(connection: Connection) -> Scene:
    """Make it, by the product's own operations, and by putting moments into the past."""
    callback = NewJob("callback")
    new = NewBatch(on_success=callback, on_complete=callback, on_failure=callback)
    batch = run(connection, batches.enqueue(new, [NewJob("work", max_attempts=9)] * 3))
    first, second, dead = claim(connection, worker_id=PREDECESSOR)
    forgotten = add(connection, keep=Keep(dead=60))
    _finish(connection, [_died(job) for job in (dead, *claim(connection, worker_id=PREDECESSOR))])
    _finish(connection, [Released(job, 0, 0, "stops") for job in (first, second)])
    held = claim(connection, worker_id=HOLDER)
    waiting = [add(connection, priority=20, key=KEY, key_ttl=60), add(connection, priority=10)]
    late = add(connection, expires=60)
    due = [add(connection, delay=60), add(connection, delay=30)]
    connection.execute(
        """
        UPDATE pgqueue.jobs SET run_at = run_at - interval '1 day',
            expires_at = expires_at - interval '1 day', died_at = died_at - interval '1 day',
            lease_until = lease_until - interval '1 day' - id * interval '1 s';
        UPDATE pgqueue.job_keys SET expires_at = expires_at - interval '1 day'
        """
    )
    return Scene(
        held,
        [first, second],
        waiting,
        late,
        due,
        dead.id,
        forgotten,
        batch.id,
        _schedules(connection, held),
    )


def _schedules(connection: Connection, held: Sequence[Job]) -> tuple[Seen, Due]:
    for job, name, overlap in zip(
        held, ("cancelling", "queueing"), ("cancel_previous", "queue_one"), strict=True
    ):
        save(connection, name, every=86400, misfire="all", overlap=overlap)
        behind(connection, name, days=1)
        connection.execute(
            "UPDATE pgqueue.jobs SET schedule_id = schedule.id FROM pgqueue.schedules AS schedule"
            " WHERE jobs.id = %s AND schedule.name = %s",
            [job.id, name],
        )
    seen = look(connection)
    tick_seen(connection, seen["queueing"])
    cancelling = seen["cancelling"]
    due = judge(
        cancelling.timing(),
        cancelling.rules,
        ticked_until=cancelling.ticked_until,
        now=now(connection),
    )
    return cancelling, due


def _died(job: Job) -> Died:
    return Died(job, 0, 0, failure(job), Reason.NON_RETRYABLE)


def failure(job: Job) -> Failure:
    """An error that says which attempt it is of."""
    return Failure("Error", f"in attempt {job.attempt}", None, "f")


def _finish(connection: Connection, outcomes: Sequence[Outcome]) -> None:
    taken = run(connection, finishing.finish(outcomes, worker_id=PREDECESSOR, moment=0))
    assert taken == {outcome.job.id for outcome in outcomes}
