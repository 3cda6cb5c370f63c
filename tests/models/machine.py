"""Does the same to the database, by the product's operations, and to the model; then compares."""

import json
from collections.abc import Sequence
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

import psycopg
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pgqueue import NewJob
from pgqueue.failure import Failure
from pgqueue.job import FINAL_STATES, Job, Reason, State
from pgqueue.notes import Said
from pgqueue.outcome import (
    Cancelled,
    Crashed,
    Died,
    Outcome,
    Released,
    Retried,
    Snoozed,
    Succeeded,
)
from pgqueue.storage import batches, claiming, enqueueing, finishing, jobs, noting, upkeep, verbs
from pgqueue.storage.batches import NewBatch
from pgqueue.storage.drivers import run
from tests.models.database import restore, violations_query
from tests.models.queue import ModelJob, ModelQueue
from tests.scheduling import save, tick

Connection = psycopg.Connection[Any]

WORKERS = [str(UUID(int=n)) for n in (1, 2)]
QUEUES = ("default", "other")
TASKS = ("work", "rare")
KEYS = ("a", "b", "c")
CALLBACKS = ("complete", "failure", "success")
UNKNOWN = 10**15
LIMIT = 1000
MOST_FAILURES = 3

days = st.integers(1, 3)
picks = st.integers(0, 10**6)
workers = st.sampled_from(WORKERS)
rich_jobs = st.fixed_dictionaries(
    {},
    optional={
        "queue": st.sampled_from(QUEUES),
        "task": st.sampled_from(TASKS),
        "priority": st.integers(0, 2),
        "delay": days,
        "expires": days,
        "max_crashes": st.integers(1, 3),
        "key": st.sampled_from(KEYS),
        "key_days": days,
        "args": st.sampled_from(["{}", '{"n": 1}']),
        "keeps": st.just(False),
    },
)
plain_jobs = st.fixed_dictionaries({}, optional={"max_crashes": st.integers(1, 3)})
new_jobs = plain_jobs | plain_jobs | rich_jobs
has_claims = precondition(lambda self: self.claims)
has_jobs = precondition(lambda self: self.model.jobs)
KINDS = ("failed", "succeeded", "failed", "died", "cancelled", "snoozed", "released", "crashed")

SHIFT = """
SET LOCAL session_replication_role = replica;
UPDATE pgqueue.jobs SET run_at = run_at - '{0} days'::interval,
    lease_until = lease_until - '{0} days'::interval,
    expires_at = expires_at - '{0} days'::interval;
UPDATE pgqueue.job_keys SET expires_at = expires_at - '{0} days'::interval;
UPDATE pgqueue.schedules SET start_at = start_at - '{0} days'::interval,
    ticked_until = ticked_until - '{0} days'::interval,
    next_run_at = next_run_at - '{0} days'::interval;
-- By a detour: the day before may be taken.
UPDATE pgqueue.ticks SET tick_at = tick_at - interval '200 years';
UPDATE pgqueue.ticks SET tick_at = tick_at + interval '200 years' - '{0} days'::interval
"""


def span(days: int) -> timedelta:
    """So many days, as the model has them: never to the moment."""
    return timedelta(days=days - 0.5)


class QueueMachine(RuleBasedStateMachine):
    """Steps are drawn by hypothesis. Jobs and claims are named by numbers, modulo how many there
    are. Rules that come to nothing are rarer than chance would have it."""

    connection: ClassVar[Connection]
    """In autocommit, to a database that ``database.prepare`` has prepared."""

    def __init__(self) -> None:
        super().__init__()
        self.connection.rollback()
        restore(self.connection)
        self.model = ModelQueue()
        self.claims: list[tuple[Job, str]] = []
        """Every claim there ever was, with its worker."""

    # Enqueue

    @initialize(some=st.lists(new_jobs, min_size=2, max_size=4))
    def begin(self, some: list[dict[str, Any]]) -> None:
        """Nothing happens in an empty queue."""
        self._enqueue(some)

    @rule(
        first=st.lists(new_jobs, min_size=1, max_size=3),
        second=st.lists(new_jobs, max_size=2),
        inner=st.sampled_from(["RELEASE SAVEPOINT s", "ROLLBACK TO SAVEPOINT s"]),
        outer=st.sampled_from(["COMMIT", "COMMIT", "ROLLBACK"]),
    )
    def enqueue(
        self,
        first: list[dict[str, Any]],
        second: list[dict[str, Any]],
        inner: str,
        outer: str,
    ) -> None:
        model_before = deepcopy(self.model) if outer == "ROLLBACK" else None
        self.connection.execute("BEGIN")
        self._enqueue(first)
        if second:
            before = deepcopy(self.model) if inner.startswith("ROLLBACK") else None
            self.connection.execute("SAVEPOINT s")
            self._enqueue(second)
            self.connection.execute(inner.encode())
            if before is not None:
                self.model = before
        self.connection.execute(outer.encode())
        if model_before is not None:
            self.model = model_before

    def _enqueue(self, some: Sequence[dict[str, Any]]) -> None:
        results = run(self.connection, enqueueing.enqueue([_new(one) for one in some]))
        for one, result in zip(some, results, strict=True):
            assert (result.duplicate, result.conflict) == self._expect(one, result.id)

    def _expect(self, one: dict[str, Any], job_id: int, **of: int) -> tuple[bool, bool]:
        """Enqueue in the model; return whether the job is a duplicate, and in conflict."""
        owner = self._owner(one)
        if owner is not None:
            assert job_id in (owner[0], 0)
            return True, owner[1] != one.get("args", "{}")
        known = {"queue": "default", "task": "work", "priority": 100, "max_crashes": 3}
        said = {**known, "keeps": True, **one, "expires": _expires(one), **of}
        self.model.enqueue(job_id, **said)
        return False, False

    def _owner(self, one: dict[str, Any]) -> tuple[int, str] | None:
        return self.model.key_owner(one.get("task", "work"), one.get("key"))

    # What workers do

    @rule(
        worker=workers,
        queues=st.sampled_from([QUEUES, QUEUES[::-1], QUEUES[:1]]),
        tasks=st.sampled_from([TASKS, TASKS, TASKS[:1]]),
        limit=st.integers(1, 4),
        lease=days,
        suspects=st.booleans(),
    )
    def claim(
        self,
        worker: str,
        queues: tuple[str, ...],
        tasks: tuple[str, ...],
        limit: int,
        lease: int,
        suspects: bool,
    ) -> None:
        if suspects:
            expected = self.model.suspects(queues, tasks, limit)
            claimed = run(
                self.connection,
                claiming.claim_suspects(
                    worker_id=worker, queues=queues, tasks=tasks, lease=span(lease), few=limit
                ),
            )
        else:
            heads = [self.model.claimable(queue, tasks, limit) for queue in queues]
            expected = sorted((job for head in heads for job in head), key=lambda job: job.order)
            claimed = run(
                self.connection,
                claiming.claim(
                    worker_id=worker,
                    limits=dict.fromkeys(queues, limit),
                    tasks=tasks,
                    lease=span(lease),
                ),
            ).jobs
        self.model.claim(expected, worker, lease)
        assert [(j.id, j.attempt, j.failures, j.crashes, j.checkpoint) for j in claimed] == [
            (j.id, j.attempt, j.failures, j.crashes, self.model.checkpoints.get(j.id, (0, None))[1])
            for j in expected
        ]
        self.claims += [(job, worker) for job in claimed]

    @rule(worker=workers, kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=4))
    def work(self, worker: str, kinds: list[str]) -> None:
        """Claim what there is, and come to something with some of it: the way to all that is
        deeper."""
        before = len(self.claims)
        self.claim(worker, QUEUES, TASKS, 4, 1, False)
        self.claim(worker, QUEUES, TASKS, 4, 1, True)
        self.agrees()
        for (job, _), kind in zip(self.claims[before:], kinds, strict=False):
            self._finish(worker, [(job, kind, len(kinds) % 3)])

    @rule(worker=workers)
    def vanish(self, worker: str) -> None:
        """Claim what there is, and be rescued."""
        self.claim(worker, QUEUES, TASKS, 4, 1, False)
        self.claim(worker, QUEUES, TASKS, 4, 1, True)
        self.pass_days(1)
        self.rescue()

    @has_claims
    @rule(
        what=st.lists(
            st.tuples(picks, st.sampled_from(KINDS), st.integers(0, 3)), min_size=1, max_size=3
        ),
        impostor=st.none() | workers,
    )
    def finish(self, what: list[tuple[int, str, int]], impostor: str | None) -> None:
        """Write outcomes of attempts present and past, as their worker or as another."""
        worker = impostor or self._claim(what[0][0])[1]
        self._finish(worker, [(self._claim(pick)[0], *how) for pick, *how in what])

    def _finish(self, worker: str, what: Sequence[tuple[Job, str, int]]) -> None:
        outcomes: dict[int, Outcome] = {}
        accepted = set()
        for job, kind, delay in what:
            if job.id in outcomes:
                continue
            if kind == "failed" and self.model.jobs[job.id].failures >= MOST_FAILURES:
                kind = "died"
            outcomes[job.id] = _outcome(job, kind, delay)
            result = _result(job)
            if self.model.finish(
                (job.id, job.attempt, worker),
                kind,
                delay=delay if kind in ("failed", "snoozed") else 0,
                result=result,
            ):
                accepted.add(job.id)
        taken = run(
            self.connection, finishing.finish([*outcomes.values()], worker_id=worker, moment=0)
        )
        assert taken == accepted

    @has_claims
    @rule(some=st.lists(picks, min_size=1, max_size=3), impostor=st.none() | workers, lease=days)
    def renew(self, some: list[int], impostor: str | None, lease: int) -> None:
        worker = impostor or self._claim(some[0])[1]
        held = {job.id: job for job, _ in map(self._claim, some)}
        expected = {
            job.id
            for job in held.values()
            if self.model.renew((job.id, job.attempt, worker), lease)
        }
        renewed = run(
            self.connection,
            jobs.renew(
                worker_id=worker,
                ids=[*held],
                attempts=[job.attempt for job in held.values()],
                lease=span(lease),
            ),
        )
        assert {each.id for each in renewed} == expected
        assert all(
            each.cancel_requested == self.model.jobs[each.id].cancel_requested for each in renewed
        )

    @has_claims
    @rule(pick=picks, impostor=st.none() | workers)
    def note(self, pick: int, impostor: str | None) -> None:
        job, worker = self._claim(pick)
        worker = impostor or worker
        checkpoint = f'"{job.attempt} of {worker}"'
        self.model.note((job.id, job.attempt, worker), checkpoint)
        said = Said(job, None, checkpoint, 1, ())
        run(self.connection, noting.write([said], worker_id=worker, moment=0))

    # The chores

    @rule()
    def rescue(self) -> None:
        expected = self.model.rescue(LIMIT)
        assert run(self.connection, jobs.rescue(limit=LIMIT)) == expected

    @rule()
    def stage(self) -> None:
        expected = self.model.stage()
        assert run(self.connection, jobs.stage(limit=LIMIT)).staged == expected

    @rule()
    def expire(self) -> None:
        expected = self.model.expire()
        assert run(self.connection, jobs.expire(limit=LIMIT)) == expected

    @rule()
    def prune(self) -> None:
        self.model.prune_keys()
        run(self.connection, upkeep.prune(limit=LIMIT))

    # What people do

    @has_jobs
    @rule(some=st.lists(picks, min_size=1, max_size=3))
    def cancel(self, some: list[int]) -> None:
        self._verb(verbs.cancel, self.model.cancel, some, [State.RUNNING, State.AVAILABLE])

    @has_jobs
    @rule(some=st.lists(picks, min_size=1, max_size=3), edited=st.booleans())
    def retry(self, some: list[int], edited: bool) -> None:
        args = "{}" if edited else None
        self._verb(
            lambda ids: verbs.retry(ids, args=args),
            lambda job_id: self.model.retry(job_id, edited=edited),
            some,
            [State.DEAD, State.SCHEDULED],
        )

    @has_jobs
    @rule(some=st.lists(picks, min_size=1, max_size=3))
    def discard(self, some: list[int]) -> None:
        self._verb(verbs.discard, self.model.discard, some, [State.DEAD])

    def _verb(self, verb: Any, model: Any, some: Sequence[int], states: Sequence[State]) -> None:
        """Do it to some jobs: in these states as often as in any."""
        known = [*reversed(self.model.jobs), UNKNOWN]
        wanted = [job.id for job in self.model.jobs.values() if job.state in states] or known
        ids = list(
            dict.fromkeys(
                some_ids[pick // 2 % len(some_ids)]
                for pick in some
                for some_ids in [wanted if pick % 2 else known]
            )
        )
        expected = [(job_id, model(job_id)) for job_id in ids]
        done = run(self.connection, verb(ids))
        # "busy" is what it would be for others: here nobody holds a lock.
        assert [(each.id, each.answer) for each in done] == expected

    @rule(queue=st.sampled_from(QUEUES), is_on=st.booleans())
    def pause(self, queue: str, is_on: bool) -> None:
        if is_on:
            self.model.paused.add(queue)
            run(self.connection, verbs.pause(queue))
        else:
            self.model.paused.discard(queue)
            run(self.connection, verbs.resume(queue))

    # Batches and schedules

    @rule(some=st.lists(new_jobs, max_size=3), callbacks=st.sets(st.sampled_from(CALLBACKS)))
    def enqueue_batch(self, some: list[dict[str, Any]], callbacks: set[str]) -> None:
        calls = {f"on_{name}": NewJob("work", priority=2) for name in callbacks}
        with self.connection.transaction():
            batch = run(
                self.connection,
                batches.enqueue(NewBatch(**calls), [_new(one) for one in some]),
            )
        model = self.model.open_batch(batch.id, batch.total, frozenset(callbacks))
        made = iter(self._new_ids("batch_id = %s", batch.id))
        duplicates = [
            self._expect(one, 0 if self._owner(one) else next(made), batch=batch.id)[0]
            for one in some
        ]
        assert batch.duplicates == sum(duplicates)
        assert batch.total == len(some) - sum(duplicates)
        if not batch.total:
            self._called(model.id, self.model.close(model))

    @precondition(lambda self: self.model.batches)
    @rule()
    def close_batches(self) -> None:
        told = [batch for batch in self.model.batches.values() if batch.untold]
        calls = {batch.id: self.model.close(batch) for batch in told}
        closings = run(self.connection, batches.close_batches(after_id=0, limit=LIMIT))
        assert [(each.batch_id, each.is_over, each.problem) for each in closings] == [
            (batch.id, batch.is_over, None) for batch in told
        ]
        for batch_id, names in calls.items():
            self._called(batch_id, names)

    def _called(self, batch_id: int, names: Sequence[str]) -> None:
        """The callbacks of a batch were enqueued: these, once."""
        made = self._new_ids("(metadata ->> 'pgqueue.batch_id')::bigint = %s", batch_id)
        assert len(made) == len(names)
        for job_id in made:
            self._expect({"priority": 2}, job_id)

    @rule(overlap=st.sampled_from(["allow", "skip"]))
    def schedule(self, overlap: str) -> None:
        name = f"s{len(self.model.schedules)}"
        start = datetime.now(UTC) - timedelta(hours=12)
        save(self.connection, name, every=86400, start_at=start, misfire="all", overlap=overlap)
        tick(self.connection, name)
        ((schedule_id,),) = self.connection.execute(
            "SELECT id FROM pgqueue.schedules WHERE name = %s", [name]
        ).fetchall()
        self.model.open_schedule(name, schedule_id, overlap)

    @precondition(lambda self: self.model.schedules)
    @rule(pick=picks)
    def tick(self, pick: int) -> None:
        name = [*self.model.schedules][pick % len(self.model.schedules)]
        schedule = self.model.schedules[name]
        ticked = tick(self.connection, name)
        made = self._new_ids("schedule_id = %s", schedule.id)
        ids = iter(made)
        for _ in range(schedule.due):
            if schedule.overlap == "skip" and self.model.under_way(schedule.id):
                schedule.overlapped += 1
            else:
                schedule.enqueued += 1
                self._expect({}, next(ids), schedule=schedule.id)
        assert next(ids, None) is None
        assert (ticked is not None) == (schedule.due > 0)
        schedule.due = 0

    def _new_ids(self, condition: str, value: int) -> list[int]:
        query = "SELECT id FROM pgqueue.all_jobs WHERE {} ORDER BY id"
        rows = self.connection.execute(query.format(condition).encode(), [value]).fetchall()
        return [row[0] for row in rows if row[0] not in self.model.jobs]

    # Time

    @rule(n=days)
    def pass_days(self, n: int) -> None:
        self.model.pass_days(n)
        with self.connection.transaction():
            self.connection.execute(SHIFT.format(n).encode())

    # The comparison

    @invariant()
    def agrees(self) -> None:
        assert _database(self.connection) == _expected(self.model)
        for worker in WORKERS:
            held = run(self.connection, jobs.find_held(worker_id=worker, ids=[*self.model.jobs]))
            assert {each.id for each in held} == {job.id for job in self.model.held_by(worker)}

    def teardown(self) -> None:
        found = self.connection.execute(violations_query(ticks=False).encode()).fetchall()
        assert found == []

    def _claim(self, pick: int) -> tuple[Job, str]:
        """A claim: one that holds, one that another has superseded, or any."""
        running = {job.id: job for job in self.model.jobs.values() if job.state is State.RUNNING}
        held = [each for each in self.claims if _is_held(each, running)]
        stale = [
            each for each in self.claims if each[0].id in running and not _is_held(each, running)
        ]
        # Of the same worker: there the number of the attempt is all that tells them apart.
        stale = [each for each in stale if running[each[0].id].worker == each[1]] or stale
        some = [held, stale, self.claims][pick % 3] or self.claims
        return some[-1 - pick // 3 % len(some)]


def _is_held(claim: tuple[Job, str], running: dict[int, ModelJob]) -> bool:
    job, worker = claim
    now = running.get(job.id)
    return now is not None and (now.attempt, now.worker) == (job.attempt, worker)


def _expires(one: dict[str, Any]) -> int | None:
    """Counted from when it may start."""
    return one["expires"] + one.get("delay", 0) if "expires" in one else None


def _new(one: dict[str, Any]) -> NewJob:
    delay, expires, key_days = (one.get("delay"), _expires(one), one.get("key_days"))
    return NewJob(one.get("task", "work"), one.get("args", "{}")).options(
        queue=one.get("queue"),
        priority=one.get("priority"),
        delay=delay and span(delay),
        expires=expires and span(expires),
        max_attempts=LIMIT,
        max_crashes=one.get("max_crashes"),
        key=one.get("key"),
        key_ttl=span(key_days) if key_days and one.get("key") else None,
        keep=None if one.get("keeps", True) else 0,
    )


def _result(job: Job) -> str:
    return f'{{"attempt": {job.attempt}}}'


def _outcome(job: Job, kind: str, delay: int) -> Outcome:
    failure = Failure("Error", f"in attempt {job.attempt}", None, "f")
    later = span(delay).total_seconds() if delay else 0.0
    outcomes: dict[str, Outcome] = {
        "succeeded": Succeeded(job, 0, 0, _result(job)),
        "failed": Retried(job, 0, 0, failure, later),
        "died": Died(job, 0, 0, failure, Reason.NON_RETRYABLE),
        "cancelled": Cancelled(job, 0, 0, "why"),
        "snoozed": Snoozed(job, 0, 0, later),
        "released": Released(job, 0, 0, "stops"),
        "crashed": Crashed(job, 0, 0, "the child vanished"),
    }
    return outcomes[kind]


_ROWS = """
SELECT json_build_object(
    'jobs', (SELECT json_object_agg(id, json_build_array(
            state, queue, task, priority, attempt, failures, crashes, worker_id,
            lease_until IS NOT NULL, key, batch_id, schedule_id, reason,
            cancel_requested_at IS NOT NULL)) FROM pgqueue.jobs),
    'finished', (SELECT json_object_agg(id, json_build_array(
            state, queue, task, priority, attempt, failures, crashes, key, batch_id, schedule_id,
            reason, result ->> 'attempt')) FROM pgqueue.finished_jobs),
    'attempts', (SELECT json_agg(json_build_array(job_id, attempt, outcome)
            ORDER BY job_id, attempt, outcome) FROM pgqueue.attempts),
    'keys', (SELECT json_object_agg(scope || ':' || key, job_id)
        FROM pgqueue.job_keys),
    'batches', (SELECT json_object_agg(id, json_build_array(
            total, succeeded, failed, cancelled, completed_at IS NOT NULL,
            success_job_id IS NOT NULL, complete_job_id IS NOT NULL, failure_job_id IS NOT NULL))
        FROM pgqueue.batches),
    'untold', (SELECT json_object_agg(batch_id, json_build_array(s, f, c)) FROM (
            SELECT batch_id, sum(succeeded) AS s, sum(failed) AS f, sum(cancelled) AS c
            FROM pgqueue.batch_outcomes GROUP BY batch_id) AS outcome),
    'schedules', (SELECT json_object_agg(id, json_build_array(runs, (
            SELECT count(*) FROM pgqueue.ticks
            WHERE schedule_id = schedule.id AND outcome = 'overlapped')))
        FROM pgqueue.schedules AS schedule),
    'paused', (SELECT json_agg(name ORDER BY name) FROM pgqueue.queues
        WHERE paused_at IS NOT NULL),
    'checkpoints', (SELECT json_object_agg(job_id, json_build_array(attempt, checkpoint))
        FROM pgqueue.progress)
)
"""


def _database(connection: Connection) -> dict[str, Any]:
    """What is there, without what is nothing."""
    row = connection.execute(_ROWS.encode()).fetchone()
    assert row is not None
    return {name: value for name, value in row[0].items() if value}


def _expected(model: ModelQueue) -> dict[str, Any]:
    live = [job for job in model.jobs.values() if job.state not in FINAL_STATES]
    over = [job for job in model.jobs.values() if job.state in FINAL_STATES and job.keeps]
    untold = {batch.id: batch.untold for batch in model.batches.values() if batch.untold}
    expected = {
        "jobs": {str(job.id): _live_row(job) for job in live},
        "finished": {str(job.id): _finished_row(job) for job in over},
        "attempts": sorted([list(attempt) for attempt in model.attempts]),
        "keys": {":".join(key): owner for key, (owner, _, _) in model.keys.items()},
        "batches": {
            str(batch.id): [
                *(batch.total, batch.succeeded, batch.failed, batch.cancelled, batch.is_over),
                *(name in batch.called for name in ("success", "complete", "failure")),
            ]
            for batch in model.batches.values()
        },
        "untold": {
            str(batch_id): [
                words.count("succeeded"),
                words.count("dead") - words.count("revived"),
                words.count("cancelled"),
            ]
            for batch_id, words in untold.items()
        },
        "schedules": {
            str(schedule.id): [schedule.enqueued, schedule.overlapped]
            for schedule in model.schedules.values()
        },
        "paused": sorted(model.paused),
        "checkpoints": {
            str(job_id): [attempt, json.loads(text)]
            for job_id, (attempt, text) in model.checkpoints.items()
        },
    }
    return {name: value for name, value in expected.items() if value}


def _live_row(job: ModelJob) -> list[Any]:
    return [
        *(job.state, job.queue, job.task, job.priority, job.attempt, job.failures, job.crashes),
        *(job.worker, job.lease is not None, job.key, job.batch, job.schedule, job.reason),
        job.cancel_requested,
    ]


def _finished_row(job: ModelJob) -> list[Any]:
    result = None if job.result is None else str(job.attempt)
    return [
        *(job.state, job.queue, job.task, job.priority, job.attempt, job.failures, job.crashes),
        *(job.key, job.batch, job.schedule, job.reason, result),
    ]
