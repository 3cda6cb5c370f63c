"""A queue as plain Python: what the database must come to after the same steps.

Every move of a job goes through ``_move``, which asks the product's own table ``TRANSITIONS``.
Time is a number of days that only ``pass_days`` advances; lengths of time are so many days and a
half less, so that nothing is ever due at the very moment somebody looks.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pgqueue.job import FINAL_STATES, TRANSITIONS, Reason, State

Lease = tuple[int, int, str]
"""The fence: a job, the number of a claim, a worker."""


@dataclass(slots=True)
class ModelJob:
    id: int
    state: State
    queue: str
    task: str
    priority: int
    run_at: tuple[float, int]
    """The day, and which step's: of two that are due on the same day the earlier made is first."""
    expires: float | None
    max_crashes: int
    keeps: bool
    """Whether it is kept in history when it succeeded, was cancelled or discarded."""
    key: str | None = None
    batch: int | None = None
    schedule: int | None = None
    attempt: int = 0
    failures: int = 0
    crashes: int = 0
    worker: str | None = None
    lease: float | None = None
    cancel_requested: bool = False
    reason: Reason | None = None
    result: str | None = None

    @property
    def order(self) -> tuple[int, float, int, int]:
        return (self.priority, *self.run_at, self.id)


@dataclass(slots=True)
class ModelBatch:
    id: int
    total: int
    callbacks: frozenset[str]
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    untold: list[str] = field(default_factory=list)
    """What became of jobs and is not folded in yet."""
    is_over: bool = False
    called: set[str] = field(default_factory=set)


@dataclass(slots=True)
class ModelSchedule:
    id: int
    overlap: str
    due: int = 0
    """Ticks since it was looked at."""
    enqueued: int = 0
    overlapped: int = 0


class ModelQueue:
    """Jobs, keys, batches and schedules, and every event that may befall them."""

    def __init__(self) -> None:
        self.day = 0
        self.jobs: dict[int, ModelJob] = {}
        self.keys: dict[tuple[str, str], tuple[int, float | None, str]] = {}
        """Task and key -> its job, the end of its lifetime, the arguments it came with."""
        self.attempts: list[tuple[int, int, str]] = []
        self.batches: dict[int, ModelBatch] = {}
        self.schedules: dict[str, ModelSchedule] = {}
        """By name."""
        self.paused: set[str] = set()
        self.checkpoints: dict[int, tuple[int, str]] = {}
        self._steps = 0

    # Enqueue

    def _step(self) -> int:
        """Number what is made due: of two on one day the first was made first."""
        self._steps += 1
        return self._steps

    def key_owner(self, task: str, key: str | None) -> tuple[int, str] | None:
        """The job that the key stands for, and its arguments."""
        if key is None or (task, key) not in self.keys:
            return None
        owner, expires, args = self.keys[task, key]
        return None if expires is not None and expires <= self.day else (owner, args)

    def enqueue(
        self,
        job_id: int,
        *,
        key_days: int | None = None,
        delay: int = 0,
        expires: int | None = None,
        args: str = "{}",
        **options: Any,
    ) -> ModelJob:
        run_at = (self.day + max(0, delay - 0.5), self._step())
        job = ModelJob(
            id=job_id,
            state=State.SCHEDULED if delay else State.AVAILABLE,
            run_at=run_at,
            expires=None if expires is None else self.day + expires - 0.5,
            **options,
        )
        assert job_id not in self.jobs
        self.jobs[job_id] = job
        if job.key is not None:
            lifetime = None if key_days is None else self.day + key_days - 0.5
            self.keys[job.task, job.key] = (job_id, lifetime, args)
        return job

    # What workers do

    def claimable(
        self, queue: str, tasks: Iterable[str], limit: int, *, suspects: bool = False
    ) -> list[ModelJob]:
        """The first available jobs of a queue: those that never crashed a worker, or the others."""
        found = [
            job
            for job in self.jobs.values()
            if job.state is State.AVAILABLE
            and job.queue == queue not in self.paused
            and job.task in tasks
            and (job.crashes > 0) is suspects
            and (job.expires is None or job.expires > self.day)
        ]
        return sorted(found, key=lambda job: job.order)[:limit]

    def suspects(self, queues: Iterable[str], tasks: Sequence[str], few: int) -> list[ModelJob]:
        """One job that was there at two crashes or more, or a few that were there at one."""
        found = [
            job for queue in queues for job in self.claimable(queue, tasks, few, suspects=True)
        ]
        certain = [job for job in found if job.crashes > 1]
        if certain:
            return [min(certain, key=lambda job: (-job.crashes, job.id))]
        chosen = sorted(found, key=lambda job: job.id)[:few]
        return sorted(chosen, key=lambda job: job.order)

    def claim(self, jobs: Iterable[ModelJob], worker: str, lease: int) -> None:
        for job in jobs:
            self._move(job, State.RUNNING)
            job.attempt += 1
            job.worker, job.lease = worker, self.day + lease - 0.5

    def is_held(self, lease: Lease) -> bool:
        """Whether the fence lets a write through."""
        job = self.jobs.get(lease[0])
        return (
            job is not None
            and job.state is State.RUNNING
            and (job.id, job.attempt, job.worker) == lease
        )

    def held_by(self, worker: str) -> list[ModelJob]:
        return [
            job for job in self.jobs.values() if job.state is State.RUNNING and job.worker == worker
        ]

    def finish(self, lease: Lease, kind: str, *, delay: int = 0, result: str | None = None) -> bool:
        """Write an outcome; return whether the fence let it through."""
        if not self.is_held(lease):
            return False
        job = self.jobs[lease[0]]
        if kind == "succeeded":
            job.result = result
            self._end(job, State.SUCCEEDED)
        elif kind == "cancelled" or job.cancel_requested:
            self._end(job, State.CANCELLED)
        else:
            self._record(job, kind)
            self._put_back(job, kind, delay)
        return True

    def _put_back(self, job: ModelJob, kind: str, delay: int) -> None:
        job.failures += kind in ("failed", "died")
        if kind == "crashed":
            self._crash(job)
        elif kind == "died":
            job.crashes = 0
            self._die(job, Reason.NON_RETRYABLE)
        else:
            if kind != "released":
                job.crashes = 0
                job.run_at = (self.day + max(0, delay - 0.5), self._step())
            self._move(job, State.SCHEDULED if delay else State.AVAILABLE)

    def renew(self, lease: Lease, days: int) -> bool:
        held = self.is_held(lease)
        if held:
            self.jobs[lease[0]].lease = self.day + days - 0.5
        return held

    def note(self, lease: Lease, checkpoint: str) -> None:
        if self.is_held(lease):
            self.checkpoints[lease[0]] = (lease[1], checkpoint)

    # The chores

    def rescue(self, limit: int) -> tuple[int, int, int]:
        """Return how many were put back, died, and were cancelled."""
        lost = [
            job
            for job in self.jobs.values()
            if job.state is State.RUNNING and job.lease is not None and job.lease < self.day
        ]
        assert len(lost) <= limit
        before = [job.cancel_requested for job in lost]
        for job in lost:
            if job.cancel_requested:
                job.crashes += 1
                self._end(job, State.CANCELLED)
            else:
                self._record(job, "lost")
                self._crash(job)
        died = sum(job.state is State.DEAD for job in lost)
        return len(lost) - sum(before) - died, died, sum(before)

    def stage(self) -> int:
        due = [
            job
            for job in self.jobs.values()
            if job.state is State.SCHEDULED and job.run_at[0] <= self.day
        ]
        for job in due:
            self._move(job, State.AVAILABLE)
        return len(due)

    def expire(self) -> int:
        late = [
            job
            for job in self.jobs.values()
            if job.state is State.AVAILABLE and job.expires is not None and job.expires <= self.day
        ]
        for job in late:
            self._die(job, Reason.EXPIRED)
        return len(late)

    def prune_keys(self) -> None:
        for key, (_, expires, _) in list(self.keys.items()):
            if expires is not None and expires < self.day:
                del self.keys[key]

    # What people do

    def cancel(self, job_id: int) -> str:
        job = self.jobs.get(job_id)
        if job is None:
            return "unknown"
        if job.state is State.RUNNING:
            job.cancel_requested = True
            return "requested"
        if State.CANCELLED in TRANSITIONS[job.state]:
            self._end(job, State.CANCELLED)
            return "cancelled"
        return self.state_of(job)

    def retry(self, job_id: int, *, edited: bool = False) -> str:
        job = self.jobs.get(job_id)
        if job is None:
            return "unknown"
        if job.state in (State.DEAD, State.SCHEDULED) or (edited and job.state is State.AVAILABLE):
            if job.state is State.DEAD and job.batch is not None:
                self.batches[job.batch].untold.append("revived")
            if job.state is not State.AVAILABLE:
                self._move(job, State.AVAILABLE)
            job.run_at = (self.day, self._step())
            job.failures = job.crashes = 0
            job.expires = job.reason = None
            if edited:
                self.checkpoints.pop(job_id, None)
        return self.state_of(job)

    def discard(self, job_id: int) -> str:
        job = self.jobs.get(job_id)
        if job is None:
            return "unknown"
        if job.state is State.DEAD:
            self._move(job, State.DISCARDED)
            return "discarded"
        return self.state_of(job)

    def state_of(self, job: ModelJob) -> str:
        """What is known of a job: nothing, if it is over and was not to be kept."""
        return job.state.value if job.state not in FINAL_STATES or job.keeps else "unknown"

    # Batches and schedules

    def open_batch(self, batch_id: int, total: int, callbacks: frozenset[str]) -> ModelBatch:
        batch = self.batches[batch_id] = ModelBatch(batch_id, total, callbacks)
        return batch

    def open_schedule(self, name: str, schedule_id: int, overlap: str) -> None:
        self.schedules[name] = ModelSchedule(schedule_id, overlap)

    def close(self, batch: ModelBatch) -> list[str]:
        """Fold what is known of a batch; return the callbacks to enqueue, if nothing is left."""
        for word in batch.untold:
            batch.succeeded += word == "succeeded"
            batch.cancelled += word == "cancelled"
            batch.failed += (word == "dead") - (word == "revived")
        batch.untold.clear()
        batch.is_over = batch.succeeded + batch.failed + batch.cancelled >= batch.total
        if not batch.is_over:
            return []
        verdict = "success" if batch.succeeded == batch.total else "failure"
        calls = ({"complete", verdict} & batch.callbacks) - batch.called
        batch.called |= calls
        return sorted(calls)

    def under_way(self, schedule: int) -> bool:
        return any(
            job.schedule == schedule
            and job.state is not State.DEAD
            and job.state not in FINAL_STATES
            for job in self.jobs.values()
        )

    # Time

    def pass_days(self, days: int) -> None:
        self.day += days
        for schedule in self.schedules.values():
            schedule.due += days

    # Moves

    def _move(self, job: ModelJob, state: State) -> None:
        assert state in TRANSITIONS[job.state], f"{job} may not become {state}"
        if job.state is State.RUNNING and state not in FINAL_STATES:
            job.worker = job.lease = None
        job.state = state

    def _end(self, job: ModelJob, state: State) -> None:
        self._move(job, state)
        if job.batch is not None:
            self.batches[job.batch].untold.append(state.value)

    def _die(self, job: ModelJob, reason: Reason) -> None:
        self._move(job, State.DEAD)
        job.reason = reason
        if job.batch is not None:
            self.batches[job.batch].untold.append("dead")

    def _crash(self, job: ModelJob) -> None:
        job.crashes += 1
        if job.crashes >= job.max_crashes:
            self._die(job, Reason.CRASHED)
        else:
            self._move(job, State.AVAILABLE)

    def _record(self, job: ModelJob, kind: str) -> None:
        word = "failed" if kind == "died" else kind
        self.attempts.append((job.id, job.attempt, word))
