"""Batches with real workers, some of which are killed."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

import pgqueue
from tests.process import Stage
from tests.worker_tasks import fail_at_first, import_items, quick, told, wait


@pytest.fixture
def stage(dsn: str, tmp_path: Path) -> Iterator[Stage]:
    with Stage(dsn, tmp_path) as stage:
        yield stage


CALLBACKS = {
    "on_success": told.job(what="success"),
    "on_complete": told.job(what="complete"),
    "on_failure": told.job(what="failure"),
}


def test_callbacks_run_within_a_second_of_the_last_job(stage: Stage) -> None:
    stage.ready(stage.start(processes=2))
    with psycopg.connect(stage.dsn) as connection:
        batch = pgqueue.enqueue_batch(
            connection, [quick.job() for _ in range(300)] + [wait.job("end")], **CALLBACKS
        )
    stage.until(
        lambda: stage.value("SELECT succeeded FROM pgqueue.batches WHERE id = %s", batch.id) == 300
    )
    stage.journal.open_gate("end")
    stage.until(lambda: len(stage.journal.entries(f"told-success-{batch.id}")) == 1)
    stage.until(lambda: len(stage.journal.entries(f"told-complete-{batch.id}")) == 1)

    (delay,) = stage.sql(
        "SELECT batch.completed_at - max(job.finished_at), max(callback.created_at) -"
        " max(job.finished_at) FROM pgqueue.batches AS batch"
        " JOIN pgqueue.finished_jobs AS job ON job.batch_id = batch.id"
        " JOIN pgqueue.all_jobs AS callback"
        " ON callback.id IN (batch.success_job_id, batch.complete_job_id)"
        " GROUP BY batch.completed_at"
    )
    assert max(delay).total_seconds() < 1.5, "within a second, and some for a busy machine"
    assert stage.journal.entries(f"told-failure-{batch.id}") == []


def test_a_batch_with_a_failure_succeeds_once_it_is_retried(stage: Stage) -> None:
    with psycopg.connect(stage.dsn) as connection:
        batch = pgqueue.enqueue_batch(
            connection, [quick.job(), fail_at_first.job("mended")], **CALLBACKS
        )
    stage.ready(stage.start())
    for what in ("complete", "failure"):
        stage.until(lambda what=what: stage.journal.entries(f"told-{what}-{batch.id}"))
    stage.journal.open_gate("mended")
    with psycopg.connect(stage.dsn) as connection:
        assert pgqueue.retry_batch(connection, batch.id) == (1, 0)
    stage.until(lambda: stage.journal.entries(f"told-success-{batch.id}"))
    stage.until_drained()
    told_in_all = [
        len(stage.journal.entries(f"told-{what}-{batch.id}"))
        for what in ("complete", "failure", "success")
    ]
    assert told_in_all == [1, 1, 1]


def test_a_hundred_thousand_items_are_imported_once_each_though_workers_are_killed(
    stage: Stage,
) -> None:
    """Killed in the midst of chunks, and wherever else they are: claiming, finishing, closing."""
    stage.sql("CREATE TABLE imported (item integer, job bigint)")
    with psycopg.connect(stage.dsn) as connection:
        batch = pgqueue.enqueue_chunked(
            connection, import_items, iter(range(100_000)), name="import", **CALLBACKS
        )
    assert batch.total == 1000

    for share in (150, 300, 450, 600):
        victim = stage.start(lease=2, rescue_every=0.5)
        stage.until(
            lambda share=share: stage.value("SELECT count(DISTINCT job) FROM imported") >= share
        )
        victim.kill()
    stage.start(lease=2, rescue_every=0.5)
    stage.until(lambda: stage.journal.entries(f"told-success-{batch.id}"), within=120)

    assert stage.sql(
        "SELECT count(*), count(DISTINCT item), min(item), max(item) FROM imported"
    ) == [(100_000, 100_000, 0, 99_999)]
    stage.until_drained()
    assert len(stage.journal.entries(f"told-complete-{batch.id}")) == 1
    assert stage.journal.entries(f"told-failure-{batch.id}") == []
    lost = stage.value("SELECT count(*) FROM pgqueue.attempts WHERE outcome = 'lost'")
    assert lost >= 1, "no kill hit a chunk that was being imported"
