"""Verbs on many jobs at once: exactly those that fit, never one that runs, each audited once."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.errors import InvalidParameterValue

import pgqueue
from pgqueue import InvalidOption, JobFilter, NewJob, State
from pgqueue.outcome import Succeeded
from pgqueue.storage import finishing, jobs, steering
from pgqueue.storage.course import Course, Why, steer
from pgqueue.storage.drivers import run
from pgqueue.storage.steering import Change, Verb
from pgqueue.worker.clock import boottime
from tests.connections import KINDS, Kind
from tests.postgres import eventually
from tests.rows import WORKER, add, claim, in_state, job_row

Connection = psycopg.Connection[Any]

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
DIE = """
UPDATE pgqueue.jobs SET state = 'dead', died_at = clock_timestamp(), reason = 'attempts_exhausted',
    failures = 5, error_type = 'ValueError', error = 'no such user', fingerprint = 'f1'
WHERE id = ANY(%s)
"""


def bury(connection: Connection, *ids: int) -> None:
    connection.execute(DIE, [list(ids)])


def zoo(connection: Connection) -> dict[str, int]:
    """A job in each state that a job can be in; those that are over too."""
    made = {
        "running": add(connection, queue="work"),
        "scheduled": add(connection, queue="work", delay=3600),
        "available": add(connection, queue="work"),
        "blocked": add(connection, queue="work"),
        "dead": add(connection, queue="work"),
        "cancelled": add(connection, queue="work"),
    }
    assert claim(connection, limit=1, queues=["work"])[0].id == made["running"]
    connection.execute("UPDATE pgqueue.jobs SET state = 'blocked' WHERE id = %s", [made["blocked"]])
    bury(connection, made["dead"])
    pgqueue.cancel(connection, made["cancelled"])
    return made


def audited(connection: Connection) -> list[tuple[Any, ...]]:
    return connection.execute(
        "SELECT verb, job_id, actor, reason, detail FROM pgqueue.audit"
        " WHERE actor = 'ann' ORDER BY id"
    ).fetchall()


def fits(connection: Connection, **said: Any) -> dict[str, int]:
    return dict(pgqueue.survey_jobs(connection, JobFilter(**said)).states)


# What a filter fits


def test_a_filter_fits_the_jobs_of_which_all_is_true(connection: Connection) -> None:
    one = add(
        connection,
        task="greet",
        queue="a",
        actor="ada",
        priority=7,
        metadata={"tenant": "acme", "n": 1},
        run_at=NOON,
    )
    add(connection, task="work", queue="b", priority=8)
    for said in (
        {"ids": [one, 4711]},
        {"queue": "a"},
        {"task": "greet"},
        {"state": "scheduled"},
        {"actor": "ada"},
        {"priority": 7},
        {"metadata": {"tenant": "acme"}},
        {"run_after": NOON},
        {"run_before": NOON + timedelta(seconds=1), "queue": "a"},
        {"run_after": timedelta(hours=-1)},
        {"created_after": timedelta(hours=1), "task": "greet"},
        {"queue": "a", "task": "greet", "actor": "ada"},
    ):
        assert pgqueue.survey_jobs(connection, JobFilter(**said)).sample[0].id == one, said
        assert fits(connection, **said) == {"scheduled": 1}, said
    for said in (
        {"queue": "a", "task": "work"},
        {"queue": "'"},
        {"run_before": NOON, "queue": "a"},
        {"created_before": timedelta(hours=1)},
        {"metadata": {"tenant": "acme", "n": 2}},
    ):
        assert fits(connection, **said) == {}, said
    assert fits(connection, everything=True) == {"available": 1, "scheduled": 1}


def test_the_dead_are_found_by_what_they_died_of(connection: Connection) -> None:
    dead, other = add(connection), add(connection)
    bury(connection, dead, other)
    connection.execute(
        "UPDATE pgqueue.jobs SET error_type = 'KeyError', fingerprint = 'f2', reason = 'timeout',"
        " died_at = now() - interval '2 days' WHERE id = %s",
        [other],
    )
    for said in (
        {"error_type": "ValueError"},
        {"fingerprint": "f1"},
        {"reason": "attempts_exhausted"},
        {"died_after": timedelta(days=1)},
        {"died_after": datetime.now(UTC) - timedelta(days=1)},
    ):
        survey = pgqueue.survey_jobs(connection, JobFilter(**said))
        assert [job.id for job in survey.sample] == [dead], said
    assert fits(connection, died_before=timedelta(days=1)) == {"dead": 1}


def test_a_batch_is_found_whole(connection: Connection) -> None:
    batch = pgqueue.enqueue_batch(connection, [NewJob("work"), NewJob("work")])
    add(connection)
    assert fits(connection, batch_id=batch.id) == {"available": 2}


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"everything": False},
        {"queue": ""},
        {"queue": "q" * 101},
        {"state": "succeeded"},
        {"reason": "boredom"},
        {"run_after": datetime(2026, 1, 1)},
        {"run_after": "yesterday"},
        {"died_before": timedelta(days=40_000)},
        {"ids": 7},
        {"ids": ["7"]},
        {"ids": [2**63]},
        {"priority": "high"},
    ],
    ids=str,
)
def test_a_filter_that_cannot_be_is_refused_at_once(said: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption):
        JobFilter(**said)


@pytest.mark.parametrize("text", ["{}", '{"everything": false}', '{"quueue": "a"}'])
def test_sql_refuses_it_too(connection: Connection, text: str) -> None:
    with pytest.raises(InvalidParameterValue):
        connection.execute("SELECT pgqueue.steer('cancel', %s)", [text])


def test_sql_has_no_other_verbs(connection: Connection) -> None:
    with pytest.raises(InvalidParameterValue, match="no verb 'delete'"):
        connection.execute("SELECT pgqueue.steer('delete', '{\"queue\": \"a\"}')")


# What the verbs do


CHANGES = [
    (Change(Verb.CANCEL), ("blocked", "scheduled", "available")),
    (Change(Verb.RUN_NOW), ("scheduled",)),
    (steering.reschedule(NOON), ("scheduled", "available")),
    (steering.reprioritise(3), ("blocked", "scheduled", "available")),
    (steering.move("elsewhere"), ("blocked", "scheduled", "available")),
    (Change(Verb.REDRIVE), ("dead",)),
    (Change(Verb.DISCARD), ("dead",)),
]


@pytest.mark.parametrize(("change", "states"), CHANGES, ids=lambda each: str(each)[:40])
def test_a_verb_touches_the_states_it_is_for_and_says_how_many_it_refuses(
    connection: Connection, change: Change, states: tuple[str, ...]
) -> None:
    made = zoo(connection)
    before = {state: job_row(connection, job) for state, job in made.items()}
    why = Why(actor="ann", reason="because")

    done = run(connection, steer(change, JobFilter(ids=list(made.values())), why))

    refused = {state for state in made if state not in states and state != "cancelled"}
    assert (done.done, done.unchanged, done.busy) == (len(states), 0, 0)
    assert done.refused == {**dict.fromkeys(refused, 1), "gone": 1}
    verb = "retry" if change.verb == Verb.REDRIVE else change.verb
    assert [row[:4] for row in audited(connection)] == [
        (verb, made[state], "ann", "because")
        for state in sorted(states, key=lambda state: made[state])
    ]
    for state in refused:
        assert job_row(connection, made[state]) == before[state], "it was not to be touched"


def test_what_each_verb_does(connection: Connection) -> None:
    later = add(connection, delay=3600, queue="a")
    connection.execute("UPDATE pgqueue.jobs SET failures = 2 WHERE id = %s", [later])
    which = JobFilter(ids=[later])

    assert pgqueue.move_jobs(connection, which, "b").done == 1
    assert pgqueue.reprioritise_jobs(connection, which, 9).done == 1
    assert pgqueue.reschedule_jobs(connection, which, NOON).done == 1
    row = job_row(connection, later)
    assert (row.queue, row.priority, row.run_at, row.state) == ("b", 9, NOON, "scheduled")
    assert pgqueue.run_jobs_now(connection, which).done == 1
    row = job_row(connection, later)
    assert (row.state, row.failures) == ("available", 2)
    assert pgqueue.reschedule_jobs(connection, which, NOON).done == 1
    assert job_row(connection, later).state == "scheduled"
    assert pgqueue.reschedule_jobs(connection, which, NOON - timedelta(days=9000)).done == 1
    assert job_row(connection, later).state == "available"
    assert pgqueue.cancel_jobs(connection, which, reason="over").done == 1
    assert job_row(connection, later).error == "over"


@pytest.mark.parametrize(
    "change",
    [steering.move("q"), steering.reprioritise(3), steering.reschedule(NOON)],
    ids=lambda change: change.verb,
)
def test_what_is_so_already_is_neither_touched_nor_audited(
    connection: Connection, change: Change
) -> None:
    for _ in range(3):
        add(connection, queue="q", priority=3, run_at=NOON)
    done = run(connection, steer(change, JobFilter(task="work"), Why(actor="ann")))
    assert (done.done, done.unchanged) == (0, 3)
    assert audited(connection) == []


def test_a_job_is_not_put_off_until_it_has_expired(connection: Connection) -> None:
    job = add(connection, delay=60, expires=3600)
    done = pgqueue.reschedule_jobs(connection, JobFilter(ids=[job]), NOON)
    assert (done.done, done.refused) == (0, {"expires": 1})
    assert job_row(connection, job).run_at < NOON


def test_batches_and_keys_stay_right(connection: Connection) -> None:
    batch = pgqueue.enqueue_batch(connection, [NewJob("work", key=f"k{n}") for n in range(6)])
    ids = [job.id for job in pgqueue.batch_jobs(connection, batch.id).jobs]
    bury(connection, *ids[:4])
    which = JobFilter(batch_id=batch.id)

    assert pgqueue.redrive_jobs(connection, which, limit=2).done == 2
    assert pgqueue.discard_jobs(connection, which, reason="r").done == 2
    assert pgqueue.cancel_jobs(connection, which, limit=1).done == 1
    status = pgqueue.batch_status(connection, batch.id)
    assert (status.failed, status.cancelled, status.pending) == (2, 1, 3)
    assert pgqueue.move_jobs(connection, which, "other").done == 3
    again = [pgqueue.enqueue(connection, NewJob("work", key=f"k{n}")) for n in range(6)]
    assert all(job.duplicate for job in again), "a key outlives its job, as after a single verb"


def test_it_can_stop_after_so_many_and_takes_the_oldest(connection: Connection) -> None:
    ids = [add(connection) for _ in range(7)]
    which = JobFilter(task="work")
    assert pgqueue.cancel_jobs(connection, which, limit=3).done == 3
    assert in_state(connection, State.CANCELLED) == ids[:3]
    with pytest.raises(InvalidOption):
        pgqueue.cancel_jobs(connection, which, limit=0)


def test_what_is_refused_does_not_count_towards_a_limit(connection: Connection) -> None:
    bury(connection, *(add(connection) for _ in range(30)))
    last = add(connection)
    done = pgqueue.cancel_jobs(connection, JobFilter(task="work"), limit=1)
    assert done.done == 1
    assert in_state(connection, State.CANCELLED) == [last]


def test_many_steps_come_to_all_of_them_once(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection.execute("SELECT pgqueue.enqueue('work') FROM generate_series(1, 1203)")
    bury(connection, *(row[0] for row in connection.execute(
        "SELECT id FROM pgqueue.jobs WHERE id % 3 = 0")))  # fmt: skip
    expected = connection.execute(
        "SELECT count(*) FROM pgqueue.jobs WHERE state = 'available'"
    ).fetchone()
    assert expected
    start = run(connection, steering.begin())
    course = Course(steering.move("b"), JobFilter(task="work"), start, Why(actor="ann"))
    steps = 0
    while not course.is_over:
        run(connection, course.step(100))
        steps += 1
    assert course.outcome.done == expected[0]
    assert course.outcome.refused == {"dead": 1203 - expected[0]}
    assert steps >= expected[0] / 100
    assert len({row[1] for row in audited(connection)}) == len(audited(connection)) == expected[0]


def test_a_look_goes_on_where_nothing_fits(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steering, "LOOK", 100)
    connection.execute("SELECT pgqueue.enqueue('other') FROM generate_series(1, 450)")
    job = add(connection)
    survey = pgqueue.survey_jobs(connection, JobFilter(task="work"))
    assert (survey.states, survey.at_least) == ({"available": 1}, False)
    assert [each.id for each in survey.sample] == [job]
    monkeypatch.setattr(steering, "LOOKED_AT_MOST", 200)
    survey = pgqueue.survey_jobs(connection, JobFilter(task="work"))
    assert (survey.states, survey.at_least) == ({}, True)


def test_jobs_enqueued_since_it_began_are_left_alone(connection: Connection) -> None:
    old = add(connection)
    start = run(connection, steering.begin())
    course = Course(Change(Verb.CANCEL), JobFilter(task="work"), start, Why())
    new = add(connection)
    while not course.is_over:
        run(connection, course.step())
    assert in_state(connection, State.CANCELLED) == [old]
    assert in_state(connection, State.AVAILABLE) == [new]


# Beside others


@pytest.fixture
def other(dsn: str) -> Iterator[Connection]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


def test_a_locked_job_is_not_waited_for_and_tried_again_at_the_end(
    dsn: str, other: Connection
) -> None:
    with psycopg.connect(dsn) as holder:
        held, free = add(other), add(other)
        start = run(other, steering.begin())
        course = Course(Change(Verb.CANCEL), JobFilter(task="work"), start, Why(actor="ann"))
        holder.execute("SELECT FROM pgqueue.jobs WHERE id = %s FOR UPDATE", [held])
        run(other, course.step())
        assert (course.outcome.done, course.outcome.busy, course.is_over) == (1, 0, False)
        holder.rollback()
        run(other, course.step())
        assert (course.outcome.done, course.outcome.busy, course.is_over) == (2, 0, True)
        assert [row[1] for row in audited(other)] == [free, held]


def test_a_job_that_stays_locked_is_said_to_be_busy(dsn: str, other: Connection) -> None:
    with psycopg.connect(dsn) as holder:
        held = add(other)
        holder.execute("SELECT FROM pgqueue.jobs WHERE id = %s FOR UPDATE", [held])
        done = pgqueue.move_jobs(other, JobFilter(task="work"), "b")
        assert (done.done, done.busy) == (0, 1)
        holder.rollback()
    assert pgqueue.move_jobs(other, JobFilter(task="work"), "b").done == 1


def test_a_job_that_is_claimed_before_its_turn_comes_is_refused(
    dsn: str, other: Connection
) -> None:
    job = add(other)
    with psycopg.connect(dsn) as claimer:
        claim(claimer)
        start = run(other, steering.begin())
        course = Course(Change(Verb.CANCEL), JobFilter(task="work"), start, Why())
        run(other, course.step())
        claimer.commit()
    run(other, course.step())
    assert course.outcome.refused == {"running": 1}
    row = job_row(other, job)
    assert (row.state, row.cancel_requested_at) == ("running", None)


@pytest.mark.parametrize("verb", ["cancel", "move"])
def test_a_job_that_is_claimed_between_the_look_and_the_lock_is_not_touched(
    dsn: str, other: Connection, verb: str
) -> None:
    """The step is held up at its first job, by a trigger, until a worker has claimed the second."""
    first, second = add(other), add(other, priority=1)
    other.execute(
        sql.SQL(
            """
            CREATE FUNCTION hold_up() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                PERFORM pg_advisory_xact_lock(4711);
                RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
            END $$;
            CREATE TRIGGER hold_up BEFORE DELETE OR UPDATE ON pgqueue.jobs FOR EACH ROW
            WHEN (OLD.id = {}) EXECUTE FUNCTION hold_up()
            """
        ).format(first)
    )
    change = Change(Verb.CANCEL) if verb == "cancel" else steering.move("b")
    done: list[Any] = []

    def act() -> None:
        with psycopg.connect(dsn, autocommit=True) as mine:
            done.append(run(mine, steer(change, JobFilter(task="work"), Why(actor="ann"))))

    with psycopg.connect(dsn) as holder:
        holder.execute("SELECT pg_advisory_xact_lock(4711)")
        thread = threading.Thread(target=act)
        thread.start()
        try:
            eventually(
                lambda: other.execute(
                    "SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711"
                    " AND NOT granted AND database = (SELECT oid FROM pg_database"
                    " WHERE datname = current_database())"
                ).fetchall(),
                within=60,
            )
            assert [job.id for job in claim(other)] == [second]
        finally:
            holder.rollback()
            thread.join(60)
    assert [(each.done, each.busy, each.refused) for each in done] == [(1, 0, {"running": 1})]
    row = job_row(other, second)
    assert (row.state, row.queue, row.cancel_requested_at) == ("running", "default", None)
    assert [row[1] for row in audited(other)] == [first]


@pytest.mark.parametrize("verb", ["move", "cancel"])
def test_workers_go_on_meanwhile_and_no_running_job_is_touched(
    dsn: str, other: Connection, verb: str
) -> None:
    """Claims and finishes run against it as fast as they can; nothing waits, nothing is lost."""
    other.execute("SELECT pgqueue.enqueue('work', '{}') FROM generate_series(1, 3000)")
    ran: list[int] = []
    wrong: list[str] = []
    begun, over = threading.Event(), threading.Event()

    def work() -> None:
        try:
            with psycopg.connect(dsn, autocommit=True) as worker:
                while not over.is_set() and (held := claim(worker, limit=20)):
                    begun.set()
                    moment = boottime()
                    outcomes = [Succeeded(job, moment, moment, None) for job in held]
                    ours = finishing.finish(outcomes, worker_id=WORKER, moment=moment)
                    if run(worker, ours) != {job.id for job in held}:
                        wrong.append("a running job was taken away")
                    ran.extend(job.id for job in held)
        except Exception as error:  # noqa: BLE001  whatever it is fails the test
            wrong.append(repr(error))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert begun.wait(30)
        change = steering.move("b") if verb == "move" else Change(Verb.CANCEL)
        start = run(other, steering.begin())
        course = Course(change, JobFilter(task="work"), start, Why(actor="ann"))
        while not course.is_over:
            run(other, course.step(100))
    finally:
        over.set()
        thread.join(60)
    assert wrong == []
    touched = [row[1] for row in audited(other)]
    assert len(touched) == len(set(touched)) == course.outcome.done
    assert set(touched).isdisjoint(ran), "what was moved away or cancelled never ran"
    assert len(ran) + len(touched) + len(in_state(other, "available")) >= 3000
    assert touched
    assert ran


# On any connection


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_it_is_part_of_the_callers_transaction_on_any_connection(dsn: str, kind: Kind) -> None:
    with psycopg.connect(dsn, autocommit=True) as watch:
        ids = [add(watch), add(watch)]
        with kind(dsn) as application:
            asynchronous = application._runner is not None
            act: Any = pgqueue.move_jobs_async if asynchronous else pgqueue.move_jobs
            look: Any = pgqueue.survey_jobs_async if asynchronous else pgqueue.survey_jobs
            which = JobFilter(ids=ids)
            assert application.do(look(application.connection, which)).states == {"available": 2}
            assert application.do(act(application.connection, which, "b")).done == 2
            application.rollback()
            assert {job_row(watch, job).queue for job in ids} == {"default"}
            assert application.do(act(application.connection, which, "b")).done == 2
            application.commit()
        assert {job_row(watch, job).queue for job in ids} == {"b"}


@pytest.mark.parametrize(
    "name", ["cancel", "run_now", "reschedule", "reprioritise", "move", "redrive", "discard"]
)
def test_every_verb_has_its_function_for_asynchronous_connections(dsn: str, name: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as watch:
        job = add(watch, delay=60)
        if name in ("redrive", "discard"):
            bury(watch, job)
        function: Any = getattr(
            pgqueue, "run_jobs_now_async" if name == "run_now" else f"{name}_jobs_async"
        )
        setting = {"reschedule": [NOON], "reprioritise": [3], "move": ["b"]}.get(name, [])
        with KINDS["psycopg AsyncConnection"](dsn) as application:
            done = application.do(
                function(application.connection, JobFilter(ids=[job]), *setting, reason="r")
            )
            application.commit()
        assert done.done == 1


# How it looks for them


def test_a_call_looks_at_a_bounded_number_of_rows_by_primary_key(dsn: str) -> None:
    """Among a hundred thousand, and whatever the caller's settings are."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            """
            INSERT INTO pgqueue.jobs (
                run_at, created_at, max_attempts, max_crashes, priority, state, queue, task, keep,
                args, batch_id)
            SELECT now(), now(), 5, 3, 100, 'available', 'q' || n % 5, 't' || n % 7, '7 days', '{}',
                CASE WHEN n % 100 = 0 THEN 7 END
            FROM generate_series(1, 100000) AS n
            """
        )
        connection.execute("VACUUM ANALYZE pgqueue.jobs")
    calls = {
        "one step": "SELECT * FROM pgqueue.steer('move', '{\"queue\": \"q1\"}', 'x')",
        "nothing fits": "SELECT * FROM pgqueue.steer('cancel', '{\"queue\": \"none\"}')",
        "a batch": "SELECT * FROM pgqueue.steer('cancel', '{\"batch_id\": 7}', at_most => 10)",
        "ids": "SELECT * FROM pgqueue.steer('cancel', '{\"ids\": [5000, 1, 70000]}')",
    }
    for what, call in calls.items():
        with psycopg.connect(dsn) as anybody:
            anybody.execute(call)
            row = anybody.execute(
                "SELECT seq_scan, idx_tup_fetch + seq_tup_read FROM pg_stat_xact_user_tables"
                " WHERE relid = 'pgqueue.jobs'::regclass"
            ).fetchone()
            assert row
            assert row[0] == 0, what
            assert row[1] <= 45_000, (what, row)
            anybody.rollback()


def test_the_chores_of_a_worker_take_what_was_steered(connection: Connection) -> None:
    job = add(connection, delay=3600)
    pgqueue.reschedule_jobs(connection, JobFilter(ids=[job]), datetime.now(UTC))
    run(connection, jobs.stage(limit=10))
    assert [each.id for each in claim(connection)] == [job]
