"""Outcomes stay until the database has them, and what it has is what is reported."""

from datetime import UTC, datetime

from pgqueue.job import Job
from pgqueue.outcome import Cancelled, Committed, Failure, Outcome, Retried, Succeeded
from pgqueue.worker.completer import Completer
from pgqueue.worker.holdings import Holdings


def job(job_id: int) -> Job:
    now = datetime.now(UTC)
    return Job(job_id, 1, "default", "t", 100, now, now, 0, 0, 5, 3, 60_000, None, "{}", None)


def setup(*jobs: Job) -> tuple[Completer, Holdings, list[Outcome]]:
    reported: list[Outcome] = []
    holdings = Holdings()
    holdings.add(jobs, leased_at=0.0)
    completer = Completer(holdings, on_pending=lambda: None, on_written=reported.append)
    return completer, holdings, reported


def test_an_outcome_stays_until_its_statement_has_committed() -> None:
    first, second = job(1), job(2)
    completer, holdings, reported = setup(first, second)
    outcomes = [Succeeded(first, 0.0, 0.0, None), Succeeded(second, 0.0, 0.0, None)]
    for outcome in outcomes:
        completer.add(outcome)

    assert completer.take(10) == completer.take(10) == outcomes
    assert len(holdings) == 2

    assert completer.take(1) == outcomes[:1]
    assert completer.take(10, after=outcomes[:1]) == outcomes[1:]

    completer.written(outcomes[:1], {1: outcomes[0]})
    assert completer.take(10) == outcomes[1:]
    assert reported == outcomes[:1]
    assert len(holdings) == 1


def test_a_success_that_a_late_thread_committed_is_not_reported_as_a_failure() -> None:
    late = job(1)
    completer, holdings, reported = setup(late)
    timed_out = Retried(late, 0.0, 1.0, Failure("Timeout", "late", None, "f"), 2.0, timed_out=True)
    completer.add(timed_out)
    completer.written([timed_out], accepted={})

    completer.judge_refused([timed_out], {1: "succeeded"})

    assert reported == [Committed(late, 0.0, 1.0)]
    assert len(holdings) == len(completer) == completer.lost == 0


def test_a_failure_of_a_job_that_was_cancelled_is_reported_as_the_cancellation_it_became() -> None:
    first, second = job(1), job(2)
    completer, _, reported = setup(first, second)
    failures = [
        Retried(each, 0.0, 1.0, Failure("E", "e", None, "f"), 2.0) for each in (first, second)
    ]
    for failure in failures:
        completer.add(failure)

    completer.written(failures, accepted={1: Cancelled(first, 0.0, 1.0, "by a person")})
    completer.judge_refused([failures[1]], {2: "cancelled"})

    assert [type(outcome) for outcome in reported] == [Cancelled, Cancelled]


def test_an_outcome_that_is_nowhere_was_lost() -> None:
    gone = job(1)
    completer, holdings, reported = setup(gone)
    succeeded = Succeeded(gone, 0.0, 1.0, None)
    completer.add(succeeded)
    completer.written([succeeded], accepted={})
    assert len(completer) == 1, "its fate is not known yet"

    completer.judge_refused([succeeded], {})

    assert reported == []
    assert completer.lost == 1
    assert len(holdings) == len(completer) == 0


def test_a_batch_is_no_larger_than_a_statement_can_carry() -> None:
    jobs = [job(number) for number in range(1, 41)]
    completer, _, _ = setup(*jobs)
    for each in jobs:
        completer.add(Succeeded(each, 0.0, 0.0, "x" * 1024 * 1024))

    assert len(completer.take(1000)) == 16
    assert completer.take(1) == [Succeeded(jobs[0], 0.0, 0.0, "x" * 1024 * 1024)]
