"""Who acts on the jobs of a scene: each by the product's operations, each a few steps.

An actor returns what it was told; the judge compares that with what happened.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from psycopg import errors

from pgqueue import NewJob
from pgqueue.job import Job, Reason
from pgqueue.job_filter import JobFilter
from pgqueue.notes import Line, Report, Said
from pgqueue.outcome import Died, Outcome, Released, Retried, Succeeded
from pgqueue.storage import (
    batches,
    claiming,
    enqueueing,
    finishing,
    jobs,
    noting,
    schedules,
    verbs,
)
from pgqueue.storage.course import Course, Why
from pgqueue.storage.operation import Operation, Statement, query
from pgqueue.storage.steering import Change, Verb, begin, reschedule
from pgqueue.timetable.schedule import words_of
from tests.models.explorer import Actor, End, Play, Told
from tests.models.scene import HOLDER, KEY, OTHER, PREDECESSOR, Scene, failure
from tests.rows import LEASE

LIMIT = 100
EFFECT = "INSERT INTO chaos.effect (job_id, attempt) VALUES (%(id)s, %(attempt)s)"
KIND = {Succeeded: "succeeded", Retried: "failed", Died: "failed", Released: "released"}


def claims(scene: Scene) -> Play:
    claimed = yield from claiming.claim(
        worker_id=OTHER, limits={"default": 3}, tasks=["work"], lease=LEASE
    )
    yield End.COMMIT
    return [_claimed(job) for job in claimed.jobs]


def claims_suspects(scene: Scene) -> Play:
    claimed = yield from claiming.claim_suspects(
        worker_id=OTHER, queues=["default"], tasks=["work"], lease=LEASE, few=10
    )
    yield End.COMMIT
    return [_claimed(job) for job in claimed]


def tries(scene: Scene) -> Play:
    """Claim, leave a checkpoint, and give back: all that a worker may do while another looks."""
    jobs = yield from _claim_all()
    yield End.COMMIT
    said = [Said(job, None, f'"of {job.attempt}"', 1, ()) for job in jobs]
    yield from noting.write(said, worker_id=OTHER, moment=0)
    told = yield from _finish(OTHER, [Released(job, 0, 0, "stops") for job in jobs])
    return [*map(_claimed, jobs), *told]


def finishes(scene: Scene) -> Play:
    """As a pump does: the outcomes of every kind in one transaction."""
    first, second = scene.held
    return (
        yield from _finish(HOLDER, [_succeeded(first), Retried(second, 0, 0, failure(second), 60)])
    )


def finishes_last(scene: Scene) -> Play:
    """What is left of the batch."""
    return (yield from _finish(HOLDER, [_succeeded(job) for job in scene.held]))


def buries(scene: Scene) -> Play:
    first, second = scene.held
    died = Died(first, 0, 0, failure(first), Reason.NON_RETRYABLE)
    return (yield from _finish(HOLDER, [died, Released(second, 0, 0, "stops")]))


def finishes_stale(scene: Scene) -> Play:
    """The worker that had them before wakes up."""
    return (yield from _finish_stale(PREDECESSOR, scene))


def finishes_former(scene: Scene) -> Play:
    """The worker that has them says something of an attempt that is over."""
    return (yield from _finish_stale(HOLDER, scene))


def handles(scene: Scene) -> Play:
    """A handler's transaction: its effect and the finish commit together, or it is rolled back."""
    job = scene.held[0]
    yield Statement(EFFECT, {"id": job.id, "attempt": job.attempt})
    return (yield from _commit_if_ours(job))


def handles_from_snapshot(scene: Scene) -> Play:
    """The same above READ COMMITTED, where the row's lock is the lease."""
    job = scene.held[0]
    if not (yield from jobs.lock_running(worker_id=HOLDER, job=job, idle_limit=LEASE)):
        yield End.ROLLBACK
        return []
    yield Statement(EFFECT, {"id": job.id, "attempt": job.attempt})
    return (yield from _commit_if_ours(job))


def notes(scene: Scene) -> Play:
    """Progress, checkpoint and a line of both, then an outcome of one: a pump's transaction."""
    said = [
        Said(
            job,
            Report(1, 2, None),
            f'{{"attempt": {job.attempt}}}',
            1,
            (Line("info", "m", None, 0),),
        )
        for job in scene.held
    ]
    yield from noting.write(said, worker_id=HOLDER, moment=0)
    first = scene.held[0]
    return (yield from _finish(HOLDER, [Retried(first, 0, 0, failure(first), 0)]))


def renews(scene: Scene) -> Play:
    yield from jobs.renew(
        worker_id=HOLDER,
        ids=[job.id for job in scene.held],
        attempts=[job.attempt for job in scene.held],
        lease=LEASE,
    )
    yield End.COMMIT
    return []


def rescues(scene: Scene) -> Play:
    rescued = yield from jobs.rescue(limit=LIMIT)
    yield End.COMMIT
    taken = [Told("rescued")] * (rescued.rescued + rescued.died)
    return [*taken, *[Told("cancelled")] * rescued.cancelled]


def stages(scene: Scene) -> Play:
    staged = yield from jobs.stage(limit=LIMIT)
    yield End.COMMIT
    return [Told("staged")] * staged.staged


def expires(scene: Scene) -> Play:
    expired = yield from jobs.expire(limit=LIMIT)
    yield End.COMMIT
    return [Told("expired")] * expired


def cancels(scene: Scene) -> Play:
    """In bulk, the wrong way round."""
    done = yield from verbs.cancel(list(reversed(scene.ids)))
    yield End.COMMIT
    return [Told(each.answer, each.id, is_state=True) for each in done if each.ok]


def cancels_batch(scene: Scene) -> Play:
    yield from batches.cancel_batch(scene.batch)
    yield End.COMMIT
    return []


def cancels_all(scene: Scene) -> Play:
    """By a filter that fits everything: in steps that commit alone, the busy ones once again."""
    return (yield from _steer(Change(Verb.CANCEL)))


def postpones_all(scene: Scene) -> Play:
    """What is available becomes scheduled."""
    return (yield from _steer(reschedule(datetime(2999, 1, 1, tzinfo=UTC))))


def redrives(scene: Scene) -> Play:
    done = yield from verbs.retry([scene.forgotten, *scene.due, scene.dead, *_ids(scene.held)])
    yield End.COMMIT
    return [Told("revived", each.id, is_state=True) for each in done if each.ok]


def redrives_and_buries(scene: Scene) -> Play:
    """What was redriven dies again at once, so that it has waited for nobody yet."""
    yield from verbs.retry([scene.forgotten])
    jobs = yield from _claim_all()
    told = yield from _finish(
        OTHER, [Died(job, 0, 0, failure(job), Reason.NON_RETRYABLE) for job in jobs]
    )
    revived = Told("revived", scene.forgotten, is_state=True)
    return [revived, *map(_claimed, jobs), *told]


def discards(scene: Scene) -> Play:
    done = yield from verbs.discard([scene.forgotten, scene.dead])
    yield End.COMMIT
    return [Told("discarded", each.id, is_state=True) for each in done if each.ok]


def prunes_dead(scene: Scene) -> Play:
    rows = yield from query("discard_dead", limit=LIMIT)
    yield End.COMMIT
    return [Told("discarded", is_state=True)] * rows[0][0]


def prunes_keys(scene: Scene) -> Play:
    yield from query("prune_keys", limit=LIMIT)
    yield End.COMMIT
    return []


def ticks(scene: Scene) -> Play:
    """What it looked at is older than everything else here."""
    seen, due = scene.ticking
    done = yield from schedules.tick(seen, due, words=words_of(seen.timing()), tzdata="2026a")
    yield End.COMMIT
    return [Told("enqueued")] * (done.made if done else 0)


def runs_queued(scene: Scene) -> Play:
    made = yield from schedules.run_queued(limit=LIMIT)
    yield End.COMMIT
    return [Told("enqueued")] * made


def enqueues(scene: Scene) -> Play:
    """With two keys, one new and one whose lifetime is over; then one more without."""
    return (yield from _enqueue(End.COMMIT))


def enqueues_in_vain(scene: Scene) -> Play:
    return (yield from _enqueue(End.ROLLBACK))


def closes(scene: Scene) -> Play:
    yield from batches.close_batches(after_id=0, limit=LIMIT)
    yield End.COMMIT
    return []


CAST = [
    *(Actor(play.__name__, play) for play in (claims, claims_suspects, tries)),
    *(
        Actor(play.__name__, play)
        for play in (finishes, finishes_last, buries, finishes_stale, finishes_former)
    ),
    Actor("handles", handles),
    Actor(
        "handles_from_snapshot",
        handles_from_snapshot,
        "REPEATABLE READ",
        (errors.SerializationFailure,),
    ),
    *(Actor(play.__name__, play) for play in (notes, renews, rescues, stages, expires)),
    *(
        Actor(play.__name__, play)
        for play in (cancels, cancels_batch, redrives, redrives_and_buries)
    ),
    *(Actor(play.__name__, play) for play in (cancels_all, postpones_all)),
    *(Actor(play.__name__, play) for play in (discards, prunes_dead, prunes_keys)),
    *(Actor(play.__name__, play) for play in (ticks, runs_queued, enqueues, enqueues_in_vain)),
    Actor("closes", closes),
]


def _steer(change: Change) -> Play:
    start = yield from begin()
    yield End.COMMIT
    course = Course(change, JobFilter(everything=True), start, Why())
    while not course.is_over:
        yield from course.step()
        yield End.COMMIT
    return []


def _claim_all() -> Operation[list[Job]]:
    claimed = yield from claiming.claim(
        worker_id=OTHER, limits={"default": LIMIT}, tasks=["work"], lease=LEASE
    )
    return claimed.jobs


def _claimed(job: Job) -> Told:
    return Told("claimed", job.id, job.attempt, checkpoint=job.checkpoint)


def _finish(worker: str, outcomes: Sequence[Outcome]) -> Play:
    by_id = {outcome.job.id: outcome for outcome in outcomes}
    taken = yield from finishing.finish(outcomes, worker_id=worker, moment=0)
    yield End.COMMIT
    return [_told(by_id[job_id]) for job_id in sorted(taken)]


def _finish_stale(worker: str, scene: Scene) -> Play:
    first, second = scene.stale
    outcomes = [_succeeded(first), Retried(second, 0, 0, failure(second), 0)]
    return (yield from _finish(worker, outcomes))


def _commit_if_ours(job: Job) -> Play:
    taken = yield from finishing.finish([_succeeded(job)], worker_id=HOLDER, moment=0)
    yield End.COMMIT if taken else End.ROLLBACK
    return [Told("succeeded", job.id, job.attempt)] if taken else []


def _enqueue(end: End) -> Play:
    new = [NewJob("work", key=KEY, key_ttl=3600), NewJob("work", key="new"), NewJob("work")]
    enqueued = yield from enqueueing.enqueue(new)
    yield end
    if end is End.ROLLBACK:
        return []
    made = [Told("enqueued", each.id, 0) for each in enqueued if not each.duplicate]
    return [*made, *(Told("exists", each.id, is_state=True) for each in enqueued)]


def _told(outcome: Outcome) -> Told:
    """A job that somebody has cancelled ends as that, unless it succeeds."""
    return Told(KIND[type(outcome)], outcome.job.id, outcome.job.attempt)


def _succeeded(job: Job) -> Succeeded:
    return Succeeded(job, 0, 0, f'{{"attempt": {job.attempt}}}')


def _ids(held: Sequence[Job]) -> list[int]:
    return [job.id for job in held]
