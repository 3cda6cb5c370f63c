"""The checker of the chaos runs finds each violation that is planted, and none in an honest one.

Histories are made by the product's own statements, then spoilt by hand where a bug would.
"""

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from pgqueue import NewJob, enqueue_batch, schedule
from pgqueue.failure import Failure
from pgqueue.job import Job
from pgqueue.outcome import Outcome, Retried, Succeeded
from pgqueue.storage import finishing, jobs
from pgqueue.storage.drivers import run
from tests.chaos import checker
from tests.chaos.logbook import Entry, now
from tests.rows import WORKER, add, claim_one, claim_suspects, lapse

RESCUE = timedelta(seconds=10)
HELD_BY_OURSELVES = "i19_leftovers"
"""These tests are one open transaction, and it holds the lock of the bell that it probed."""


class Run:
    """A run of one connection: what it did is in the database, what it was told in *entries*."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        self.entries: list[Entry] = []
        checker.install(connection)
        self.be("a")

    def be(self, process: str) -> None:
        """Go on as this process."""
        self.connection.execute("SELECT set_config('chaos.process', %s, true)", [process])

    def sql(self, statement: str, *params: Any) -> list[tuple[Any, ...]]:
        cursor = self.connection.execute(statement.encode(), params or None)
        return cursor.fetchall() if cursor.description else []

    def log(self, what: str, **fields: Any) -> None:
        self.entries.append({"what": what, "at": now(), **fields})

    def enqueue(self, **options: Any) -> int:
        job = add(self.connection, **options)
        self.sql("INSERT INTO chaos.marker VALUES (%s)", job)
        self.log("ack", job_id=job)
        return job

    def claim(self) -> Job:
        """Claim a job, and start it."""
        job = claim_one(self.connection)
        self.start(job)
        return job

    def start(self, job: Job) -> None:
        self.log("start", job_id=job.id, attempt=job.attempt, process="a")

    def write(self, outcome: Outcome) -> None:
        moment = time.monotonic()
        assert run(
            self.connection, finishing.finish([outcome], worker_id=WORKER, moment=moment)
        ) == {outcome.job.id}

    def succeed(self, job: Job, *, said: int | None = None) -> None:
        moment = time.monotonic()
        result = f'{{"attempt": {said or job.attempt}}}'
        self.write(Succeeded(job, moment, moment, result))

    def fail(self, job: Job) -> None:
        moment = time.monotonic()
        failure = Failure("ValueError", f"in attempt {job.attempt}", "", "")
        self.write(Retried(job, moment, moment, failure, 0))

    def lose(self) -> None:
        """The worker vanishes, and its jobs are rescued."""
        lapse(self.connection)
        run(self.connection, jobs.rescue(limit=100))

    def fault(self, kind: str, *targets: str, ago: float = 0.0) -> None:
        self.log("fault", kind=kind, targets=list(targets), began=now() - ago, ended=now() - ago)

    def done(self) -> int:
        """A job that was run, as it should be."""
        self.enqueue()
        job = self.claim()
        self.succeed(job)
        return job.id

    def check(self) -> set[str]:
        """The names of the invariants that are violated."""
        checker.load(self.connection, self.entries, rescue=RESCUE)
        found = {violation.invariant.name for violation in checker.check(self.connection)}
        return found - {HELD_BY_OURSELVES}


@pytest.fixture
def story(connection: psycopg.Connection[Any]) -> Iterator[Run]:
    return Run(connection)


def test_nothing_is_found_in_an_honest_history(story: Run) -> None:
    story.done()
    story.enqueue()
    job = story.claim()
    story.fail(job)
    again = story.claim()
    story.fault("worker killed", "a")
    story.lose()
    (suspect,) = claim_suspects(story.connection)
    story.start(suspect)
    story.succeed(suspect)
    batch = enqueue_batch(story.connection, [NewJob("work")])
    story.sql("INSERT INTO chaos.marker SELECT id FROM pgqueue.jobs")
    story.succeed(story.claim())
    story.sql("SELECT pgqueue.close_batch(%s)", batch.id)

    assert (job.attempt, again.attempt, suspect.attempt) == (1, 2, 3)
    assert story.check() == set()


# A violation a function; its invariant is the key that it is planted under.

Plant = Callable[[Run], object]
PLANTS: list[tuple[str, Plant]] = []


def violates(invariant: str) -> Callable[[Plant], Plant]:
    def note(plant: Plant) -> Plant:
        PLANTS.append((invariant, plant))
        return plant

    return note


@violates("i01_acknowledged")
def a_finished_job_is_lost(story: Run) -> None:
    story.sql("DELETE FROM pgqueue.finished_jobs WHERE id = %s", story.done())


@violates("i01_acknowledged")
def an_acknowledged_job_never_was(story: Run) -> None:
    story.log("ack", job_id=10**9)


@violates("i02_atomic_enqueue")
def a_job_survives_its_transaction(story: Run) -> None:
    add(story.connection)


@violates("i02_atomic_enqueue")
def a_transaction_survives_its_job(story: Run) -> None:
    story.sql("INSERT INTO chaos.marker VALUES (1000000000)")


@violates("i02_atomic_enqueue")
def a_job_survives_its_savepoint(story: Run) -> None:
    story.log("rolled_back", job_id=story.done())


@violates("i03_over")
def a_job_is_never_claimed(story: Run) -> None:
    story.enqueue()


@violates("i03_over")
def a_job_runs_for_ever(story: Run) -> None:
    story.enqueue()
    story.claim()


@violates("i04_one_outcome")
def a_job_succeeds_twice(story: Run) -> None:
    job = story.done()
    story.sql("CREATE TEMP TABLE copy AS SELECT * FROM pgqueue.finished_jobs WHERE id = %s", job)
    story.sql(
        "INSERT INTO pgqueue.jobs OVERRIDING SYSTEM VALUE"
        " SELECT (jsonb_populate_record(NULL::pgqueue.jobs, to_jsonb(copy) ||"
        ' \'{"state": "available", "max_crashes": 3, "keep": "1 day"}\')).* FROM copy'
    )
    story.succeed(story.claim())


@violates("i05_attempts")
def an_attempt_is_skipped(story: Run) -> None:
    story.enqueue()
    story.sql("UPDATE pgqueue.jobs SET attempt = attempt + 1")
    story.succeed(story.claim())


@violates("i05_attempts")
def a_retry_gives_a_number_out_again(story: Run) -> None:
    story.enqueue()
    story.fail(story.claim())
    story.sql("UPDATE pgqueue.jobs SET attempt = 0")
    story.succeed(story.claim())


@violates("i06_fence")
def another_process_finishes_the_job(story: Run) -> None:
    story.enqueue()
    job = story.claim()
    story.be("b")
    story.succeed(job)


@violates("i06_fence")
def another_process_fails_the_job(story: Run) -> None:
    story.enqueue()
    job = story.claim()
    story.be("b")
    story.fail(job)
    story.be("a")
    story.succeed(story.claim())


@violates("i06_fence")
def a_running_job_changes_hands(story: Run) -> None:
    story.enqueue()
    story.claim()
    story.sql("UPDATE pgqueue.jobs SET worker_id = %s", uuid4())


@violates("i06_results")
def the_result_of_a_superseded_attempt_is_kept(story: Run) -> None:
    story.enqueue()
    first = story.claim()
    story.fail(first)
    story.succeed(story.claim(), said=first.attempt)


@violates("i06_results")
def a_failure_is_kept_under_another_attempt(story: Run) -> None:
    story.enqueue()
    story.fail(story.claim())
    story.sql("UPDATE pgqueue.attempts SET attempt = attempt + 7")
    story.succeed(story.claim())


@violates("i07_cause")
def a_running_job_is_claimed_again(story: Run) -> None:
    story.enqueue()
    story.claim()
    story.sql("UPDATE pgqueue.jobs SET attempt = attempt + 1")


@violates("i08_false_rescue")
def a_living_worker_is_robbed(story: Run) -> None:
    story.enqueue()
    story.claim()
    story.lose()


@violates("i08_false_rescue")
def a_worker_is_robbed_because_of_another(story: Run) -> None:
    story.enqueue()
    story.claim()
    story.fault("worker killed", "b")
    story.fault("connections cut")
    story.lose()


@violates("i09_rescue_in_time")
def nobody_rescues_what_a_dead_worker_held(story: Run) -> None:
    story.enqueue()
    story.claim()
    story.sql("UPDATE chaos.job_event SET at = at - interval '60 s'")
    story.fault("worker killed", "a", ago=30)


@violates("i10_starts")
def a_handler_runs_twice_for_one_claim(story: Run) -> None:
    story.enqueue()
    job = story.claim()
    story.start(job)
    story.succeed(job)


@violates("i10_starts")
def a_handler_runs_without_a_claim(story: Run) -> None:
    story.log("start", job_id=story.done(), attempt=2, process="a")


@violates("i11_effects")
def an_effect_is_there_twice(story: Run) -> None:
    job = story.done()
    story.sql("UPDATE pgqueue.finished_jobs SET task = 'effect' WHERE id = %s", job)
    story.sql("INSERT INTO chaos.effect VALUES (%s, 1), (%s, 1)", job, job)


@violates("i11_effects")
def an_effect_is_missing(story: Run) -> None:
    story.sql("UPDATE pgqueue.finished_jobs SET task = 'effect' WHERE id = %s", story.done())


@violates("i12_stale_effects")
def a_superseded_attempt_has_an_effect(story: Run) -> None:
    story.enqueue()
    lost = story.claim()
    story.fail(lost)
    story.sql("INSERT INTO chaos.effect VALUES (%s, %s)", lost.id, lost.attempt)
    story.succeed(story.claim())


@violates("i13_keys")
def a_key_is_two_jobs(story: Run) -> None:
    first, second = story.done(), story.done()
    story.log("ack", job_id=first, key="k")
    story.log("ack", job_id=second, key="k")


def ticked(story: Run) -> int:
    """A schedule of every 2 s that ticked three times; its id."""
    schedule(story.connection, "s", NewJob("work"), every=2)
    ((id,),) = story.sql("SELECT id FROM pgqueue.schedules WHERE name = 's'")
    for n in range(3):
        (job,) = story.sql(
            "SELECT job.id FROM pgqueue.schedules AS schedule CROSS JOIN LATERAL"
            " pgqueue.enqueue_scheduled(schedule, to_timestamp(%s::float8)) AS job (id)"
            " WHERE schedule.id = %s",
            2.0 * n,
            id,
        )[0]
        story.sql(
            "INSERT INTO pgqueue.ticks VALUES (%s, to_timestamp(%s::float8), %s, 'enqueued')",
            id,
            2.0 * n,
            job,
        )
        story.succeed(story.claim())
    return int(id)


def test_ticks_that_are_all_there_are_no_violation(story: Run) -> None:
    ticked(story)

    assert story.check() == set()


@violates("i15_ticks")
def a_tick_is_missing(story: Run) -> None:
    id = ticked(story)
    story.sql("DELETE FROM pgqueue.ticks WHERE schedule_id = %s AND tick_at = to_timestamp(2)", id)


@violates("i15_ticks")
def a_tick_makes_two_jobs(story: Run) -> None:
    id = ticked(story)
    story.sql(
        "SELECT pgqueue.enqueue_scheduled(schedule, to_timestamp(2)) FROM pgqueue.schedules"
        " AS schedule WHERE id = %s",
        id,
    )
    story.succeed(story.claim())


@violates("i15_ticks")
def a_tick_is_at_no_time_that_the_schedule_has(story: Run) -> None:
    id = ticked(story)
    story.sql(
        "UPDATE pgqueue.ticks SET tick_at = tick_at + interval '1 s'"
        " WHERE schedule_id = %s AND tick_at = to_timestamp(2)",
        id,
    )


@violates("i16_not_before")
def a_job_starts_too_early(story: Run) -> None:
    story.enqueue(delay=60)
    story.sql("UPDATE pgqueue.jobs SET state = 'available'")
    story.succeed(story.claim())


@violates("i17_counters")
def a_job_runs_more_often_than_it_may(story: Run) -> None:
    story.enqueue(max_attempts=1)
    story.fail(story.claim())
    story.succeed(story.claim())


@violates("i17_counters")
def failures_are_forgotten(story: Run) -> None:
    story.enqueue()
    story.fail(story.claim())
    story.sql("UPDATE pgqueue.jobs SET failures = 0")
    story.succeed(story.claim())


@violates("i18_moves_and_rows")
def a_job_is_not_where_it_moved_to(story: Run) -> None:
    story.enqueue()
    story.sql("ALTER TABLE pgqueue.jobs DISABLE TRIGGER chaos_moves")
    story.claim()


@violates("i21_ends")
def a_worker_takes_too_long_to_stop(story: Run) -> None:
    story.log("shutdown", process="a", seconds=9.0, allowed=8.5)


@violates("i23_duplicates")
def a_job_starts_again_for_no_reason(story: Run) -> None:
    story.enqueue()
    story.claim()
    story.sql("UPDATE pgqueue.jobs SET attempt = attempt + 1")
    story.log("start", job_id=story.entries[0]["job_id"], attempt=2, process="a")


@violates("i24_transitions")
def a_job_moves_where_it_may_not(story: Run) -> None:
    story.enqueue()
    story.claim()
    story.sql("UPDATE pgqueue.jobs SET state = 'blocked', lease_until = NULL")


def closed_batch(story: Run) -> int:
    callback = NewJob("work")
    batch = enqueue_batch(story.connection, [NewJob("work")], on_complete=callback)
    story.sql("INSERT INTO chaos.marker SELECT id FROM pgqueue.jobs")
    story.succeed(story.claim())
    story.sql("SELECT pgqueue.close_batch(%s)", batch.id)
    story.succeed(story.claim())
    return batch.id


def test_a_batch_that_was_closed_is_no_violation(story: Run) -> None:
    closed_batch(story)

    assert story.check() == set()


@violates("i25_batches")
def a_batch_counts_a_job_twice(story: Run) -> None:
    story.sql("UPDATE pgqueue.batches SET succeeded = 2 WHERE id = %s", closed_batch(story))


@violates("i25_batches")
def a_batch_is_told_twice(story: Run) -> None:
    story.sql(
        "SELECT pgqueue.enqueue_stored(on_complete) FROM pgqueue.batches WHERE id = %s",
        closed_batch(story),
    )
    story.succeed(story.claim())


@pytest.mark.parametrize(
    ("invariant", "plant"), PLANTS, ids=[plant.__name__ for _, plant in PLANTS]
)
def test_the_checker_finds(story: Run, invariant: str, plant: Plant) -> None:
    plant(story)

    assert invariant in story.check()


def test_the_checker_finds_what_a_stopped_worker_left(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        checker.install(connection)
        assert not checker.check(connection)

        with psycopg.connect(dsn, application_name="pgqueue:heartbeat"):
            (left,) = checker.check(connection)
    assert left.invariant.name == "i19_leftovers"


def test_every_invariant_is_violated_by_a_test() -> None:
    planted = {invariant for invariant, _ in PLANTS} | {HELD_BY_OURSELVES}

    assert {each.name for each in checker.find_invariants()} == planted


def test_a_job_that_waits_and_is_retried_with_other_arguments_is_no_finding(story: Run) -> None:
    story.enqueue()
    story.fail(story.claim())
    story.sql("SELECT pgqueue.retry(id, '{}') FROM pgqueue.jobs")
    story.succeed(story.claim())

    assert "i17_counters" not in story.check()
