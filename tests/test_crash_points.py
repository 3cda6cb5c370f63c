"""A worker process dies where it is told to, and what becomes of its jobs is what is promised."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pgqueue import InvalidOption, PgqueueError, failpoints
from pgqueue.failpoints import AT
from pgqueue.testing import WorkerProcess, crash_worker
from tests.command import environment
from tests.process import TASKS, Stage
from tests.worker_tasks import DATABASE, JOURNAL, effect_for_a_while, quick

SOON = ("--lease", "2s")


@pytest.fixture
def stage(dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.setenv(JOURNAL, str(tmp_path))
    monkeypatch.setenv(DATABASE, dsn)
    with Stage(dsn, tmp_path) as stage:
        stage.sql("CREATE TABLE effects (job bigint, attempt bigint)")
        yield stage


def attempts_started(stage: Stage, job: int) -> list[int]:
    return [attempt for attempt, _ in stage.started(job)]


def test_a_worker_that_dies_after_its_claim_has_run_nothing_and_another_does(stage: Stage) -> None:
    (job,) = stage.enqueue(quick.job())

    crash_worker(TASKS, stage.dsn, "after claim", *SOON)
    assert stage.state(job) == "running"
    assert attempts_started(stage, job) == []

    stage.start(lease=2, rescue_every=0.2)
    stage.until_state(job, "succeeded")
    assert attempts_started(stage, job) == [2]
    assert stage.attempts(job) == [(1, "lost")]


def test_a_worker_that_dies_before_its_commit_has_its_job_run_again_and_its_work_once(
    stage: Stage,
) -> None:
    (job,) = stage.enqueue(effect_for_a_while.job(0))

    crash_worker(TASKS, stage.dsn, "before commit", *SOON)
    assert attempts_started(stage, job) == [1]
    assert stage.sql("SELECT * FROM effects") == []

    stage.start(lease=2, rescue_every=0.2)
    stage.until_state(job, "succeeded")
    assert attempts_started(stage, job) == [1, 2]
    assert stage.sql("SELECT * FROM effects") == [(job, 2)]


def test_outside_a_transaction_what_is_not_committed_is_done_twice(stage: Stage) -> None:
    (job,) = stage.enqueue(quick.job())

    crash_worker(TASKS, stage.dsn, "before commit", *SOON)
    stage.start(lease=2, rescue_every=0.2)
    stage.until_state(job, "succeeded")

    assert attempts_started(stage, job) == [1, 2]


@pytest.mark.parametrize("task", [quick.job(), effect_for_a_while.job(0)], ids=lambda job: job.task)
def test_a_worker_that_dies_after_its_commit_has_done_its_job(stage: Stage, task: Any) -> None:
    (job,) = stage.enqueue(task)

    crash_worker(TASKS, stage.dsn, "after commit", *SOON)

    assert stage.state(job) == "succeeded"
    assert attempts_started(stage, job) == [1]


def test_of_several_processes_one_dies_once_and_the_others_go_on(
    stage: Stage, pgqueue_worker: Callable[..., WorkerProcess]
) -> None:
    jobs = stage.enqueue(*[quick.job()] * 20)

    worker = pgqueue_worker(TASKS, "--processes", "2", *SOON, dies="after claim")
    worker.wait_for_death()

    stage.until_drained()
    assert {stage.state(job) for job in jobs} == {"succeeded"}
    assert worker.exit_code is None


def test_a_worker_that_comes_to_no_such_place_is_told_of_and_stopped(stage: Stage) -> None:
    with pytest.raises(PgqueueError, match="never came to where it was to die"):
        crash_worker(TASKS, stage.dsn, "after claim", timeout=3)


def test_a_worker_that_ends_before_it_is_told_of(stage: Stage) -> None:
    with pytest.raises(PgqueueError, match=r"exit code 3(.|\n)*no tasks at"):
        crash_worker("tests.worker_tasks:nothing", stage.dsn, "after claim")


def test_a_place_that_does_not_exist_is_refused(stage: Stage) -> None:
    nowhere: Any = "after lunch"
    with pytest.raises(InvalidOption, match="'after claim', 'before commit', 'after commit'"):
        crash_worker(TASKS, stage.dsn, nowhere)

    answer = subprocess.run(
        [sys.executable, "-c", "import pgqueue.failpoints"],
        env=environment(None, {AT: nowhere}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 1
    assert "not 'after lunch'" in answer.stderr


def test_nothing_happens_where_nobody_asked_for_it() -> None:
    for point in failpoints.POINTS:
        failpoints.reach(point)
