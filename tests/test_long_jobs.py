"""What long jobs are promised, with real workers that are killed, frozen and told to stop."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgqueue import Task
from tests.long_tasks import (
    BATCH,
    count_in_child,
    extend,
    extend_in_child,
    extend_on_the_loop,
    fall_silent,
    fall_silent_in_child,
    heed_in_child,
    import_in_child,
    import_rows,
    keep_extending,
)
from tests.process import Stage
from tests.test_notes import WATCH, assert_paced

TASKS = "tests.long_tasks:tasks"
QUICKLY = {"lease": 2, "rescue_every": 0.2}
ROWS = 10_000


@pytest.fixture
def stage(dsn: str, tmp_path: Path) -> Iterator[Stage]:
    with Stage(dsn, tmp_path) as stage:
        yield stage


# Resuming


@pytest.mark.parametrize("task", [import_rows, import_in_child], ids=lambda task: task.name)
def test_acceptance_15_an_import_whose_worker_is_killed_resumes_once_where_it_stopped(
    stage: Stage, task: Task[..., None]
) -> None:
    stage.sql("CREATE TABLE imported (n integer PRIMARY KEY, times integer NOT NULL)")
    first = stage.start(tasks=TASKS, **QUICKLY)
    (job,) = stage.enqueue(task.job(total=ROWS, pause=0.03))
    stage.until(
        lambda: stage.sql(
            "SELECT 1 FROM pgqueue.progress WHERE (checkpoint #>> '{}')::integer >= 3000"
        )
    )
    first.family()
    first.kill()
    ((known, written),) = stage.sql(
        "SELECT (checkpoint #>> '{}')::integer, (SELECT count(*) FROM imported)"
        " FROM pgqueue.progress"
    )
    stage.start(tasks=TASKS, **QUICKLY)
    stage.until_state(job, "succeeded")

    assert stage.job(job).attempt == 2
    assert [attempt for attempt, _ in stage.started(job)] == [1, 2]
    resumed = stage.journal.entries(f"from-{known}", job)
    assert [entry.attempt for entry in resumed] == [2]
    assert stage.sql("SELECT count(*), min(n), max(n) FROM imported") == [(ROWS, 0, ROWS - 1)]
    repeated = stage.value("SELECT sum(times) - count(*) FROM imported")
    assert repeated == written - known or repeated == written + BATCH - known
    assert repeated < 6000, "what a second of work was, and no more"
    assert stage.value("SELECT percent FROM pgqueue.job_progress WHERE job_id = %s", job) == 100


def test_a_child_that_is_told_to_stop_leaves_its_checkpoint(stage: Stage) -> None:
    """At its next word; the job is given back uncharged, and goes on from there."""
    worker = stage.start(tasks=TASKS, grace=0)
    (job,) = stage.enqueue(heed_in_child.job())
    stage.until_started(job)
    worker.terminate()
    worker.wait(20)

    assert stage.state(job) == "available"
    assert stage.attempts(job) == [(1, "released")]
    assert stage.value("SELECT (checkpoint #>> '{}')::integer FROM pgqueue.progress") >= 1


def test_a_cancelled_child_stops_at_its_next_word(stage: Stage) -> None:
    stage.start(tasks=TASKS)
    (job,) = stage.enqueue(heed_in_child.job())
    stage.until_started(job)
    stage.sql("SELECT pgqueue.cancel(%s)", job)

    stage.until_state(job, "cancelled", within=4)


# What a child says


def test_the_progress_of_a_child_is_paced_and_its_log_bounded(stage: Stage) -> None:
    stage.sql(WATCH)
    stage.start(tasks=TASKS)
    (job,) = stage.enqueue(count_in_child.job(items=3000, pause=0.001))
    stage.until_state(job, "succeeded")

    assert_paced(stage.sql("SELECT done, total, at FROM versions ORDER BY at"))
    lines = stage.sql("SELECT n, message FROM pgqueue.job_logs ORDER BY n")
    assert [n for n, _ in lines] == list(range(1, 202))
    assert lines[-1][1] == "2801 more lines were logged and not kept"


# Leases


@pytest.mark.parametrize(
    "task", [extend, extend_in_child, extend_on_the_loop], ids=lambda task: task.name
)
def test_a_handler_that_extends_its_lease_keeps_its_job_through_many(
    stage: Stage, task: Task[..., None]
) -> None:
    """30 s every 100 items, at a thirtieth of the size: 6 s of work on leases of 1 s."""
    first = stage.start(tasks=TASKS, lease=30, rescue_every=0.1)
    stage.ready(first)
    stage.start(tasks=TASKS, lease=2, rescue_every=0.1)
    (job,) = stage.enqueue(task.job(items=3000, seconds=1))
    stage.until_state(job, "succeeded")

    assert stage.started(job) == stage.started(job)[:1]
    assert stage.job(job).attempt == 1
    assert stage.attempts(job) == []
    assert len(stage.journal.entries("end", job)) == 1


@pytest.mark.parametrize("task", [fall_silent, fall_silent_in_child], ids=lambda task: task.name)
def test_a_handler_that_falls_silent_loses_its_job_and_is_told(
    stage: Stage, task: Task[..., None]
) -> None:
    """Though its worker lives and renews everything else."""
    stage.start(tasks=TASKS, lease=6, rescue_every=0.1)
    (job,) = stage.enqueue(task.job())

    stage.until(lambda: [entry.attempt for entry in stage.journal.entries("lost", job)] == [1])
    stage.until_state(job, "succeeded")
    assert stage.attempts(job) == [(1, "lost")]
    assert stage.job(job).attempt == 2
    assert stage.journal.entries("end", job) == []


def test_a_worker_that_was_frozen_hears_at_its_next_extend_that_its_job_is_lost(
    stage: Stage,
) -> None:
    frozen = stage.start(tasks=TASKS, **QUICKLY)
    (job,) = stage.enqueue(keep_extending.job(gate="never"))
    stage.until_started(job)
    stage.start(tasks=TASKS, **QUICKLY)
    frozen.freeze()
    stage.until_started(job, attempt=2)
    frozen.thaw()

    stage.until(lambda: [entry.attempt for entry in stage.journal.entries("lost", job)] == [1])
    assert [attempt for attempt, _ in stage.started(job)] == [1, 2]
    assert stage.state(job) == "running"


def test_a_worker_that_was_frozen_goes_on_if_nobody_took_its_job(stage: Stage) -> None:
    """Its lease had run out long ago, and the first extend waits until it is renewed."""
    worker = stage.start(tasks=TASKS, lease=2, rescue_every=60)
    (job,) = stage.enqueue(keep_extending.job(gate="enough"))
    stage.until_started(job)
    worker.freeze()
    stage.until(
        lambda: stage.value(
            "SELECT lease_until < now() - interval '1 s' FROM pgqueue.jobs WHERE id = %s", job
        )
    )
    stage.journal.open_gate("enough")
    worker.signal(signal.SIGCONT)

    stage.until_state(job, "succeeded")
    assert stage.job(job).attempt == 1
    assert stage.journal.entries("lost", job) == []
