"""The same key is the same job: while it lives, whoever asks, however many at once."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg import IsolationLevel, errors

from pgqueue import Enqueued, IdempotencyConflict, NewJob, enqueue, enqueue_many
from pgqueue.outcome import Succeeded
from pgqueue.storage import upkeep, verbs
from pgqueue.storage.drivers import run
from pgqueue.storage.finishing import finish
from tests.postgres import eventually
from tests.proxy import Loss, LossyProxy
from tests.rows import WORKER, claim_one, in_state

Connection = psycopg.Connection[Any]
Connect = Callable[..., Connection]

JOB = NewJob("greet", '{"name": "Ada"}')
OTHER = NewJob("greet", '{"name": "Bob"}')
WELCOME = JOB.options(key="welcome:1")


@pytest.fixture
def connect(dsn: str) -> Iterator[Connect]:
    """Opens connections of several applications."""
    opened: list[Connection] = []

    def connect(**how: Any) -> Connection:
        opened.append(psycopg.connect(dsn, **how))
        return opened[-1]

    yield connect
    for connection in opened:
        connection.close()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(40) as threads:
        yield threads


def is_blocked(observer: Connection, blocked: Connection) -> bool:
    row = observer.execute(
        "SELECT cardinality(pg_blocking_pids(%s))", [blocked.info.backend_pid]
    ).fetchone()
    assert row
    return bool(row[0])


def blocked_enqueue(
    threads: ThreadPoolExecutor, observer: Connection, connection: Connection, job: NewJob
) -> "Future[Enqueued]":
    """Enqueue in a thread; return once it waits for another transaction."""
    future = threads.submit(enqueue, connection, job)
    eventually(lambda: is_blocked(observer, connection))
    return future


def count_jobs(connection: Connection) -> int:
    row = connection.execute("SELECT count(*) FROM pgqueue.jobs").fetchone()
    assert row
    return int(row[0])


# One after the other


def test_the_same_key_is_the_same_job(connection: Connection) -> None:
    first = enqueue(connection, WELCOME)
    again = enqueue(connection, WELCOME)

    assert again == Enqueued(first.id, duplicate=True, conflict=False)
    assert not first.duplicate
    assert count_jobs(connection) == 1


def test_another_key_another_task_or_no_key_is_another_job(connection: Connection) -> None:
    ids = {
        enqueue(connection, job).id
        for job in (WELCOME, JOB.options(key="welcome:2"), WELCOME._replace(task="other"), JOB, JOB)
    }
    assert len(ids) == 5


def test_other_arguments_under_one_key_are_a_conflict(connection: Connection) -> None:
    first = enqueue(connection, WELCOME)
    other = enqueue(connection, OTHER, key=WELCOME.key)

    assert other == Enqueued(first.id, duplicate=True, conflict=True)
    row = connection.execute("SELECT args->>'name' FROM pgqueue.jobs").fetchall()
    assert row == [("Ada",)]


def test_a_conflict_is_raised_on_demand(connection: Connection) -> None:
    first = enqueue(connection, WELCOME)
    assert enqueue(connection, WELCOME, on_conflict="raise").duplicate
    with pytest.raises(IdempotencyConflict, match=f"'welcome:1' already belongs to job {first.id}"):
        enqueue(connection, OTHER, key=WELCOME.key, on_conflict="raise")
    with pytest.raises(IdempotencyConflict) as caught:
        enqueue_many(connection, [JOB, OTHER.options(key=WELCOME.key)], on_conflict="raise")
    assert (caught.value.key, caught.value.job_id) == (WELCOME.key, first.id)


def test_the_jobs_beside_a_conflict_are_in_the_transaction_and_in_the_error(
    connection: Connection,
) -> None:
    first = enqueue(connection, WELCOME)
    with pytest.raises(IdempotencyConflict) as caught:
        enqueue_many(connection, [JOB, OTHER.options(key=WELCOME.key)], on_conflict="raise")

    beside, refused = caught.value.results
    assert refused == Enqueued(first.id, duplicate=True, conflict=True)
    assert in_state(connection, "available") == [first.id, beside.id]


def test_the_spelling_of_the_arguments_is_no_conflict(connection: Connection) -> None:
    enqueue(connection, NewJob("add", '{"a": 1, "b": 2.0}', key="k"))
    again = enqueue(connection, NewJob("add", '{"b":2.0,"a":1}', key="k"))
    assert again.duplicate
    assert not again.conflict


def test_of_equal_keys_in_a_batch_the_first_is_kept(connection: Connection) -> None:
    results = enqueue_many(
        connection, [OTHER, WELCOME, OTHER.options(key="welcome:1"), WELCOME, OTHER]
    )

    first = results[1].id
    assert [(r.id == first, r.duplicate, r.conflict) for r in results] == [
        (False, False, False),
        (True, False, False),
        (True, True, True),
        (True, True, False),
        (False, False, False),
    ]
    assert count_jobs(connection) == 3


def test_options_other_than_the_arguments_are_no_conflict(connection: Connection) -> None:
    enqueue(connection, WELCOME)
    again = enqueue(connection, WELCOME, priority=1, delay=60, actor="somebody")
    assert (again.duplicate, again.conflict) == (True, False)


def test_sql_and_python_share_their_keys(connection: Connection) -> None:
    first = enqueue(connection, WELCOME)
    row = connection.execute(
        """SELECT pgqueue.enqueue('greet', '{"name": "Ada"}', key => 'welcome:1')"""
    ).fetchone()
    assert row == (first.id,)
    row = connection.execute("SELECT pgqueue.enqueue('greet', '{}', key => 'sql')").fetchone()
    again = enqueue(connection, JOB, key="sql")
    assert row
    assert again == Enqueued(row[0], duplicate=True, conflict=True)


def test_a_key_given_twice_in_one_transaction_survives_a_savepoint(connection: Connection) -> None:
    connection.execute("SAVEPOINT here")
    gone = enqueue(connection, WELCOME)
    connection.execute("ROLLBACK TO here")
    kept = enqueue(connection, WELCOME)

    assert not kept.duplicate
    assert kept.id != gone.id
    assert enqueue(connection, WELCOME).id == kept.id


# How long a key lives


def test_a_key_outlives_its_job(connection: Connection) -> None:
    first = enqueue(connection, WELCOME)
    job = claim_one(connection)
    run(connection, finish([Succeeded(job, 0, 0, None)], worker_id=WORKER, moment=0))
    assert count_jobs(connection) == 0

    assert enqueue(connection, WELCOME) == Enqueued(first.id, duplicate=True, conflict=False)
    assert enqueue(connection, OTHER, key="welcome:1").conflict
    assert count_jobs(connection) == 0


def test_the_key_of_a_job_kept_in_no_history_lives_on(connection: Connection) -> None:
    first = enqueue(connection, WELCOME, keep=0)
    job = claim_one(connection)
    run(connection, finish([Succeeded(job, 0, 0, None)], worker_id=WORKER, moment=0))
    assert enqueue(connection, WELCOME).id == first.id


def test_the_key_of_a_cancelled_job_still_names_it(connection: Connection) -> None:
    first = enqueue(connection, WELCOME)
    run(connection, verbs.cancel([first.id]))
    assert enqueue(connection, WELCOME) == Enqueued(first.id, duplicate=True, conflict=False)


def test_an_expired_key_gives_a_new_job_and_lives_anew(connection: Connection) -> None:
    first = enqueue(connection, WELCOME, key_ttl=0)
    second = enqueue(connection, OTHER, key="welcome:1", key_ttl=3600)
    third = enqueue(connection, WELCOME, key_ttl=0)

    assert (first.duplicate, second.duplicate) == (False, False)
    assert second.id != first.id
    assert third == Enqueued(second.id, duplicate=True, conflict=True)


def test_an_expired_key_twice_in_one_batch_gives_one_new_job(connection: Connection) -> None:
    old = enqueue(connection, WELCOME, key_ttl=0)
    new, again = enqueue_many(connection, [WELCOME, WELCOME])
    assert (new.duplicate, again.duplicate, again.id) == (False, True, new.id)
    assert new.id != old.id


def test_a_key_lives_for_ever_or_as_long_as_was_said(connection: Connection) -> None:
    enqueue_many(connection, [WELCOME, JOB.options(key="short", key_ttl=90)])
    rows = connection.execute(
        """
        SELECT key.key, key.expires_at - job.created_at
        FROM pgqueue.job_keys AS key JOIN pgqueue.jobs AS job ON job.id = key.job_id
        ORDER BY key.key
        """
    ).fetchall()
    assert [(key, ttl and ttl.total_seconds()) for key, ttl in rows] == [
        ("short", 90.0),
        ("welcome:1", None),
    ]


def test_pruning_forgets_keys_whose_time_is_over_and_no_others(connection: Connection) -> None:
    enqueue_many(
        connection,
        [
            WELCOME,
            JOB.options(key="over", key_ttl=0),
            JOB.options(key="going on", key_ttl=3600),
        ],
    )
    connection.execute(
        "UPDATE pgqueue.job_keys SET expires_at = now() - interval '1s' WHERE key = 'over'"
    )
    assert run(connection, upkeep.prune(limit=100)) == 1
    rows = connection.execute("SELECT key FROM pgqueue.job_keys ORDER BY key").fetchall()
    assert rows == [("going on",), ("welcome:1",)]


# Several at once


def test_the_first_rolls_back_and_the_seconds_job_exists(
    connect: Connect, threads: ThreadPoolExecutor
) -> None:
    first, second, observer = connect(), connect(), connect(autocommit=True)
    gone = enqueue(first, WELCOME)
    waiting = blocked_enqueue(threads, observer, second, WELCOME)
    first.rollback()
    kept = waiting.result(30)
    second.commit()

    assert not kept.duplicate
    assert kept.id != gone.id
    assert in_state(observer, "available") == [kept.id]
    assert enqueue(observer, WELCOME) == Enqueued(kept.id, duplicate=True, conflict=False)


def test_the_first_commits_and_the_second_gets_its_job(
    connect: Connect, threads: ThreadPoolExecutor
) -> None:
    first, second, observer = connect(), connect(), connect(autocommit=True)
    enqueued = enqueue(first, WELCOME)
    waiting = blocked_enqueue(threads, observer, second, OTHER.options(key="welcome:1"))
    first.commit()
    result = waiting.result(30)
    second.commit()

    assert result == Enqueued(enqueued.id, duplicate=True, conflict=True)
    assert in_state(observer, "available") == [enqueued.id]


def test_an_expired_key_is_taken_over_by_one_of_two(
    connect: Connect, threads: ThreadPoolExecutor
) -> None:
    first, second, observer = connect(), connect(), connect(autocommit=True)
    old = enqueue(observer, WELCOME, key_ttl=0)
    new = enqueue(first, WELCOME)
    waiting = blocked_enqueue(threads, observer, second, WELCOME)
    first.commit()

    assert waiting.result(30) == Enqueued(new.id, duplicate=True, conflict=False)
    assert new.id != old.id


def test_the_callers_own_lock_timeout_bounds_the_wait(connect: Connect) -> None:
    first, second = connect(), connect()
    enqueue(first, WELCOME)
    second.execute("SET lock_timeout = '50ms'")
    with pytest.raises(errors.LockNotAvailable):
        enqueue(second, WELCOME)


def test_enqueue_sets_no_lock_timeout_of_its_own(connection: Connection) -> None:
    connection.execute("SET LOCAL lock_timeout = '1234ms'")
    enqueue(connection, WELCOME)
    assert connection.execute("SHOW lock_timeout").fetchone() == ("1234ms",)


def test_acceptance_16_32_concurrent_enqueuers_of_one_key_make_one_job(
    connect: Connect, threads: ThreadPoolExecutor
) -> None:
    barrier = threading.Barrier(32)

    def enqueue_at_once(connection: Connection) -> Enqueued:
        with connection.transaction():
            barrier.wait(30)
            return enqueue(connection, WELCOME)

    observer = connect(autocommit=True)
    results = list(threads.map(enqueue_at_once, [connect() for _ in range(32)]))

    assert len({result.id for result in results}) == 1
    assert sorted(result.duplicate for result in results) == [False] + [True] * 31
    assert in_state(observer, "available") == [results[0].id]


def test_of_concurrent_enqueuers_that_partly_roll_back_one_job_stays(
    connect: Connect, threads: ThreadPoolExecutor
) -> None:
    barrier = threading.Barrier(16)

    def enqueue_and_maybe_regret(n: int, connection: Connection) -> Enqueued | None:
        barrier.wait(30)
        result = enqueue(connection, WELCOME)
        if n % 2:
            connection.rollback()
            return None
        connection.commit()
        return result

    observer = connect(autocommit=True)
    opened = [connect() for _ in range(16)]
    results = [r for r in threads.map(enqueue_and_maybe_regret, range(16), opened) if r]

    assert len({result.id for result in results}) == 1
    assert in_state(observer, "available") == [results[0].id]


def test_batches_with_keys_in_opposite_order_do_not_deadlock(
    connect: Connect, threads: ThreadPoolExecutor
) -> None:
    def enqueue_batch(connection: Connection, batch: list[NewJob], barrier: Any) -> list[Enqueued]:
        barrier.wait(30)
        with connection.transaction():
            return enqueue_many(connection, batch)

    there, back, observer = connect(), connect(), connect(autocommit=True)
    for turn in range(6):
        batch = [JOB.options(key=f"{turn}-{n:03}") for n in range(300)]
        barrier = threading.Barrier(2)
        forward = threads.submit(enqueue_batch, there, batch, barrier)
        backward = threads.submit(enqueue_batch, back, batch[::-1], barrier)
        ids = [result.id for result in forward.result(30)]
        assert [result.id for result in backward.result(30)] == ids[::-1]
    assert len(in_state(observer, "available")) == 6 * 300


def test_batches_that_share_keys_take_them_in_one_order_and_do_not_deadlock(
    connect: Connect, threads: ThreadPoolExecutor
) -> None:
    """Both are under way when they meet: each has as many keys as it can get before a third."""
    holder, there, back, observer = connect(), connect(), connect(), connect(autocommit=True)
    batch = [JOB.options(key=f"{n:03}") for n in range(30)]
    enqueue(holder, batch[15])
    forward = threads.submit(enqueue_many, there, batch)
    eventually(lambda: is_blocked(observer, there))
    backward = threads.submit(enqueue_many, back, batch[::-1])
    eventually(lambda: is_blocked(observer, back))
    holder.rollback()

    ids = [result.id for result in forward.result(30)]
    there.commit()
    assert [result.id for result in backward.result(30)] == ids[::-1]
    back.commit()
    assert len(in_state(observer, "available")) == 30


def test_two_transactions_that_each_take_the_others_key_get_postgres_own_deadlock(
    connect: Connect, threads: ThreadPoolExecutor
) -> None:
    """Two statements each, in opposite order: no queue could sort these."""
    first, second, observer = connect(), connect(), connect(autocommit=True)
    observer.execute("SELECT 1")
    for connection in (first, second):
        connection.execute("SET deadlock_timeout = '50ms'")
        connection.commit()
    enqueue(first, JOB, key="a")
    enqueue(second, JOB, key="b")
    waiting = blocked_enqueue(threads, observer, first, JOB.options(key="b"))
    loser: BaseException | None = None
    try:
        enqueue(second, JOB, key="a")
    except errors.DeadlockDetected as error:
        loser = error
        second.rollback()
        waiting.result(30)
    else:
        second.commit()
        loser = waiting.exception(30)
    assert isinstance(loser, errors.DeadlockDetected)


@pytest.mark.parametrize("level", [IsolationLevel.REPEATABLE_READ, IsolationLevel.SERIALIZABLE])
def test_above_read_committed_a_concurrent_duplicate_is_a_serialization_failure(
    connect: Connect, threads: ThreadPoolExecutor, level: IsolationLevel
) -> None:
    """As for any unique key: the snapshot cannot see the winner."""
    first, second, observer = connect(), connect(), connect(autocommit=True)
    second.isolation_level = level
    second.execute("SELECT 1 FROM pgqueue.job_keys")
    enqueued = enqueue(first, WELCOME)
    waiting = blocked_enqueue(threads, observer, second, WELCOME)
    first.commit()
    with pytest.raises(errors.SerializationFailure):
        waiting.result(30)
    second.rollback()

    assert enqueue(second, WELCOME) == Enqueued(enqueued.id, duplicate=True, conflict=False)


@pytest.mark.parametrize("level", [IsolationLevel.REPEATABLE_READ, IsolationLevel.SERIALIZABLE])
def test_above_read_committed_a_loser_that_rolls_back_is_no_failure(
    connect: Connect, threads: ThreadPoolExecutor, level: IsolationLevel
) -> None:
    first, second, observer = connect(), connect(), connect(autocommit=True)
    second.isolation_level = level
    enqueue(first, WELCOME)
    waiting = blocked_enqueue(threads, observer, second, WELCOME)
    first.rollback()

    assert not waiting.result(30).duplicate


@pytest.mark.parametrize(("loss", "first"), [("answer", False), ("request", True)])
def test_an_enqueue_whose_commit_got_no_answer_is_repeated_with_its_key_and_is_one_job(
    dsn: str, loss: Loss, first: bool
) -> None:
    job = NewJob("greet").options(key="welcome:1")
    with LossyProxy(dsn, loss) as proxy:
        connection = psycopg.connect(proxy.dsn)
        enqueue(connection, job)
        with pytest.raises(psycopg.OperationalError):
            connection.commit()
        connection.close()
    with psycopg.connect(dsn) as again:
        assert enqueue(again, job).inserted is first
    with psycopg.connect(dsn) as outside:
        assert outside.execute("SELECT count(*) FROM pgqueue.jobs").fetchone() == (1,)
