"""The schema keeps its own rules: the code's states, one row whoever enqueues, no illegal move, and
history that grows and shrinks beside whoever is at work."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import errors, sql
from psycopg.types.json import Json

from pgqueue import Keep, NewJob, Tasks, enqueue, enqueue_many
from pgqueue.job import FINAL_STATES, LIVE_STATES, TRANSITIONS, Job, Reason, State
from pgqueue.options import LONGEST
from pgqueue.outcome import Cancelled, Crashed, Died, Failure, Released, Retried, Snoozed, Succeeded
from pgqueue.storage import claiming, jobs, upkeep, verbs
from pgqueue.storage.drivers import run
from pgqueue.storage.finishing import finish
from tests.rows import LEASE, WORKER, add, claim_one, job_row

Connection = psycopg.Connection[Any]


def checked(connection: Connection, constraint: str) -> set[str]:
    """The words that a CHECK constraint allows."""
    row = connection.execute(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE conname = %s AND connamespace = 'pgqueue'::regnamespace",
        [constraint],
    ).fetchone()
    assert row
    return set(re.findall(r"'(\w+)'", row[0]))


CENTURIES = timedelta(days=292_260 * 365)


# The words


def test_the_states_of_jobs_and_the_reasons_of_death_are_those_of_the_code(
    connection: Connection,
) -> None:
    assert checked(connection, "jobs_state") == {*LIVE_STATES, *Reason}


def test_the_states_of_history_are_the_final_ones_of_the_code(connection: Connection) -> None:
    assert checked(connection, "finished_jobs_state") == set(FINAL_STATES)


@pytest.mark.parametrize("reason", Reason)
def test_a_job_may_die_of_every_reason(connection: Connection, reason: Reason) -> None:
    job_id = add(connection)
    failure = Failure("E", "e", None, "e")
    died = Died(claim_one(connection), 0, 0, failure, reason)
    assert run(connection, finish([died], worker_id=WORKER, moment=0)) == {job_id}
    assert job_row(connection, job_id).reason == reason


@pytest.mark.parametrize(
    "change",
    [
        "state = 'succeeded'",
        "state = 'asleep'",
        "state = 'dead'",
        "state = 'dead', reason = 'boredom'",
        "reason = 'timeout'",
        "state = 'running'",
        "state = 'running', lease_until = now()",
        "lease_until = now()",
    ],
)
def test_a_row_that_makes_no_sense_is_refused(connection: Connection, change: str) -> None:
    add(connection)
    with pytest.raises(errors.CheckViolation):
        connection.execute(f"UPDATE pgqueue.jobs SET {change}")  # noqa: S608  from the list above


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("task", None),
        ("task", ""),
        ("task", "x" * 201),
        ("queue", ""),
        ("queue", "x" * 101),
        ("priority", -1),
        ("priority", 32768),
        ("max_attempts", 0),
        ("max_attempts", 1001),
        ("max_crashes", 0),
        ("timeout", timedelta(0)),
        ("timeout", timedelta(seconds=-2)),
        ("timeout", CENTURIES),
        ("keep", timedelta(days=-1)),
        ("keep", CENTURIES),
        ("keep_dead", timedelta(days=-1)),
        ("key", ""),
        ("key", "x" * 501),
        ("on_dead_task", "x" * 201),
        ("delay", timedelta(seconds=-1)),
        ("delay", CENTURIES),
        ("key_ttl", timedelta(seconds=-1)),
        ("key_ttl", timedelta(seconds=1)),
        ("actor", ""),
        ("actor", "x" * 501),
        ("metadata", Json([])),
        ("metadata", Json(None)),
        ("metadata", Json({"a": "a\0b"})),
        ("metadata", Json({"a": "x" * 2**20})),
    ],
)
def test_a_wrong_option_in_sql_is_named_and_nothing_enqueued(
    connection: Connection, option: str, value: Any
) -> None:
    options = {option: value}
    task = options.pop("task", "greet")
    with (
        pytest.raises(errors.InvalidParameterValue, match=option.partition("_dead")[0]),
        connection.transaction(),
    ):
        sql_enqueue(connection, task, "{}", **options)
    assert connection.execute("SELECT FROM pgqueue.jobs").fetchall() == []


@pytest.mark.parametrize("table", ["queues", "tasks"])
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("name", ""),
        ("name", "x" * 201),
        ("priority", -5),
        ("max_attempts", 0),
        ("max_attempts", 1001),
        ("max_crashes", 0),
        ("timeout_ms", 0),
        ("timeout_ms", -7),
        ("timeout_ms", 2**62),
        ("keep", timedelta(days=-1)),
        ("keep", timedelta(days=36_601)),
        ("keep_cancelled", timedelta(days=-1)),
        ("keep_dead", timedelta(days=-1)),
    ],
)
def test_settings_that_no_job_could_be_made_with_are_refused(
    connection: Connection, table: str, column: str, value: Any
) -> None:
    row = {"name": "email", **({"seen_at": MOMENT} if table == "tasks" else {}), column: value}
    with pytest.raises(errors.CheckViolation, match=f"{table}_{column}_check"):
        put_row(connection, table, row)


def test_a_task_cannot_name_a_queue_that_cannot_be(connection: Connection) -> None:
    with pytest.raises(errors.CheckViolation, match="tasks_queue_check"):
        put_row(connection, "tasks", {"name": "greet", "queue": "", "seen_at": MOMENT})


@pytest.mark.parametrize("option", ["timeout", "keep"])
def test_the_longest_of_pythons_settings_can_be_stored(connection: Connection, option: str) -> None:
    longest: dict[str, Any] = {option: LONGEST}
    run(connection, upkeep.sync_tasks([NewJob("greet", **longest)]))
    assert sql_enqueue(connection, "greet", "{}", **{option: timedelta(seconds=LONGEST)})


def put_row(connection: Connection, table: str, row: dict[str, Any]) -> None:
    connection.execute(
        sql.SQL("INSERT INTO pgqueue.{} ({}) VALUES ({})").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, row)),
            sql.SQL(", ").join(map(sql.Literal, row.values())),
        )
    )


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        ("[]", "must be a JSON object"),
        ("null", "must be a JSON object"),
        (None, "must be a JSON object"),
        (r'{"a": ["a\u0000b"]}', "a NUL"),
        (r'{"a": "\ud800"}', "half a surrogate"),
        (f'{{"a": 1e{10**6}}}', "a number out of range"),
        (f'{{"a": "{"x" * 2**20}"}}', "1048585 bytes of JSON are more than the 1048576 allowed"),
    ],
    ids=["list", "null", "NULL", "NUL", "surrogate", "number", "large"],
)
def test_args_in_sql_that_python_would_refuse_are_refused(
    connection: Connection, args: str | None, problem: str
) -> None:
    with pytest.raises(errors.InvalidParameterValue, match=rf"^args: .*{problem}"):
        connection.execute("SELECT pgqueue.enqueue('greet', %s::json)", [args])


@pytest.mark.parametrize("args", [r'{"a": "a\\u0000b", "b": "\ud83d\ude00"}', '{"a": 1e22}'])
def test_args_in_sql_are_stored_as_they_were_spelt(connection: Connection, args: str) -> None:
    job_id = sql_enqueue(connection, "greet", args)
    stored = connection.execute("SELECT args::text FROM pgqueue.jobs WHERE id = %s", [job_id])
    assert stored.fetchone() == (args,)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("delay => '1 s', run_at => now()", "run_at: cannot be given together with delay"),
        ("run_at => now(), expires_at => now()", "expires_at: the job would be dead"),
    ],
)
def test_options_in_sql_that_contradict_each_other_are_refused(
    connection: Connection, options: str, problem: str
) -> None:
    with pytest.raises(errors.InvalidParameterValue, match=problem):
        connection.execute(f"SELECT pgqueue.enqueue('greet', {options})")


def test_a_jsonb_value_is_cast_as_documented(connection: Connection) -> None:
    row = connection.execute(
        "SELECT pgqueue.enqueue('greet', args => jsonb_build_object('user_id', 123)::json)"
    ).fetchone()
    assert row
    assert job_row(connection, row[0]).args == {"user_id": 123}


def test_one_wrong_job_among_many_refuses_them_all(connection: Connection) -> None:
    with (
        pytest.raises(errors.InvalidParameterValue, match="priority"),
        connection.transaction(),
    ):
        connection.execute(
            "SELECT pgqueue.enqueue_many("
            "ARRAY['a', 'b'], ARRAY['{}', '{}'], priorities => '{1,-1}')"
        )
    assert connection.execute("SELECT FROM pgqueue.jobs").fetchall() == []


def test_moments_have_time_zones_and_ids_room(connection: Connection) -> None:
    wrong = connection.execute(
        """
        SELECT table_name, column_name, data_type FROM information_schema.columns
        WHERE table_schema = 'pgqueue' AND (
            data_type = 'timestamp without time zone'
            OR (data_type <> 'bigint' AND column_name IN ('id', 'job_id', 'attempt')
                AND table_name NOT IN ('workers', 'worker_stats')))
        """
    ).fetchall()
    assert wrong == []


def test_no_foreign_key_points_anywhere(connection: Connection) -> None:
    found = connection.execute(
        "SELECT conname FROM pg_constraint "
        "WHERE contype = 'f' AND connamespace = 'pgqueue'::regnamespace"
    ).fetchall()
    assert found == []


def test_no_index_is_one_that_a_finish_could_be_tempted_by(connection: Connection) -> None:
    """A finish says ``state = 'running'``: an index for that would be walked instead of the key."""
    predicates = connection.execute(
        """
        SELECT pg_get_expr(indpred, indrelid) FROM pg_index
        WHERE indrelid = 'pgqueue.jobs'::regclass AND indpred IS NOT NULL
        """
    ).fetchall()
    assert predicates
    assert not [predicate for (predicate,) in predicates if "running" in predicate]


def test_what_runs_with_its_owners_rights_looks_only_where_it_should(
    connection: Connection,
) -> None:
    found = connection.execute(
        "SELECT proname, proconfig FROM pg_proc "
        "WHERE prosecdef AND pronamespace = 'pgqueue'::regnamespace"
    ).fetchall()
    assert {name for name, _ in found} == {
        "make_net",
        "make_partition",
        "make_partitions",
        "forget_partition",
    }
    assert all("search_path=pgqueue, pg_temp" in config for _, config in found)


# One row, whoever enqueues


def sql_enqueue(connection: Connection, task: str, args: str, **named: Any) -> int:
    arguments = [sql.SQL("{}, {}::json").format(task, args)]
    arguments += [
        sql.SQL("{} => {}").format(sql.Identifier(name), value) for name, value in named.items()
    ]
    statement = sql.SQL("SELECT pgqueue.enqueue({})").format(sql.SQL(", ").join(arguments))
    row = connection.execute(statement).fetchone()
    assert row
    return int(row[0])


def compared(connection: Connection, job_id: int) -> dict[str, Any]:
    """The whole row and its key's, with times as distances from the enqueue."""
    row: dict[str, Any] = job_row(connection, job_id)._asdict()
    created_at = row.pop("created_at")
    assert row.pop("id") == job_id
    for name in ("run_at", "expires_at"):
        if row[name] is not None and abs(row[name] - created_at) < timedelta(days=1000):
            row[name] -= created_at
    row["args text"] = connection.execute(
        "SELECT args::text, metadata::text FROM pgqueue.jobs WHERE id = %s", [job_id]
    ).fetchone()
    if row["key"] is not None:
        key = connection.execute(
            "SELECT scope, fingerprint, expires_at - %s FROM pgqueue.job_keys WHERE job_id = %s",
            [created_at, job_id],
        ).fetchone()
        assert key
        row["key's"] = key
        connection.execute("DELETE FROM pgqueue.job_keys")
    return row


MOMENT = datetime(2199, 12, 31, 23, 59, 59, 123456, tzinfo=UTC)
PARITY: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"queue": "fast"}, {"queue": "fast"}),
    ({"priority": 0}, {"priority": 0}),
    ({"delay": 90.5}, {"delay": timedelta(seconds=90.5)}),
    ({"delay": 0}, {"delay": timedelta(0)}),
    ({"delay": 0.0001}, {"delay": timedelta(microseconds=100)}),
    ({"delay": 0.07}, {"delay": timedelta(milliseconds=70)}),
    ({"run_at": MOMENT}, {"run_at": MOMENT}),
    ({"run_at": MOMENT - timedelta(days=90_000)}, {"run_at": MOMENT - timedelta(days=90_000)}),
    ({"expires": MOMENT}, {"expires_at": MOMENT}),
    ({"max_attempts": 1000}, {"max_attempts": 1000}),
    ({"max_crashes": 1}, {"max_crashes": 1}),
    ({"timeout": 0.001}, {"timeout": timedelta(milliseconds=1)}),
    ({"timeout": None}, {"timeout": timedelta(milliseconds=-1)}),
    ({"keep": 0}, {"keep": timedelta(0)}),
    ({"keep": timedelta(days=40)}, {"keep": timedelta(days=40)}),
    (
        {"keep": Keep(succeeded=0, cancelled=86400, dead=timedelta(days=400))},
        {
            "keep": timedelta(0),
            "keep_cancelled": timedelta(days=1),
            "keep_dead": timedelta(days=400),
        },
    ),
    ({"key": "k"}, {"key": "k"}),
    ({"key": "k", "key_ttl": 60}, {"key": "k", "key_ttl": timedelta(seconds=60)}),
    ({"actor": "ada"}, {"actor": "ada"}),
    ({"metadata": {"a": [1, None]}}, {"metadata": Json({"a": [1, None]})}),
    ({"on_dead_task": "mourn"}, {"on_dead_task": "mourn"}),
    ({"on_dead_task": ""}, {"on_dead_task": ""}),
    ({"notify": False}, {"notify": False}),
]


@pytest.mark.parametrize(("python", "in_sql"), PARITY, ids=[str(p) for p, _ in PARITY])
@pytest.mark.parametrize("queue_row", [False, True], ids=["bare queue", "queue with settings"])
@pytest.mark.parametrize("said", ["by the task", "by nobody"])
def test_sql_and_python_enqueue_the_same_row(
    connection: Connection,
    python: dict[str, Any],
    in_sql: dict[str, Any],
    said: str,
    queue_row: bool,
) -> None:
    tasks = Tasks()
    options: dict[str, Any] = {}
    if said == "by the task":
        options = {
            "queue": "email", "priority": 7, "max_attempts": 9, "max_crashes": 4, "timeout": 12.5,
            "keep": Keep(timedelta(days=3), timedelta(days=4), timedelta(days=5)),
            "on_dead_task": "sorry",
        }  # fmt: skip

    @tasks.task("greet", **options)
    def greet(name: str, times: int = 1) -> None: ...

    run(connection, upkeep.sync_tasks(task.defaults for task in tasks))
    if queue_row:
        connection.execute(
            """
            INSERT INTO pgqueue.queues (
                name, priority, max_attempts, max_crashes, timeout_ms, keep, keep_cancelled,
                keep_dead
            )
            SELECT name, 50, 51, 52, 53000, '54 days', '55 days', '56 days'
            FROM unnest(ARRAY['default', 'email', 'fast']) AS name
            """
        )
    by_python = enqueue(connection, greet.job("Ada", times=2), **python).id
    expected = compared(connection, by_python)
    notify = python.get("notify", True)
    options = {name: value for name, value in python.items() if name != "notify"}
    among_many, _ = enqueue_many(
        connection, [greet.job("Ada", times=2).options(**options), NewJob("other")], notify=notify
    )
    assert compared(connection, among_many.id) == expected
    by_sql = sql_enqueue(connection, "greet", '{"name":"Ada","times":2}', **in_sql)

    assert compared(connection, by_sql) == expected


def test_every_option_is_compared(connection: Connection) -> None:
    fields = {name for python, _ in PARITY for name in python}
    assert fields == {*NewJob._fields[2:-1], "notify"}
    row = connection.execute(
        "SELECT proargnames[1:pronargs] FROM pg_proc WHERE oid = 'pgqueue.enqueue'::regproc"
    ).fetchone()
    assert row
    named = {name for _, in_sql in PARITY for name in in_sql}
    assert set(row[0]) == {"task", "args", *named}


def test_enqueue_never_writes_to_queues_or_tasks(connection: Connection) -> None:
    add(connection, queue="new", task="new")
    for table in ("queues", "tasks"):
        row = connection.execute(
            sql.SQL("SELECT count(*) FROM pgqueue.{}").format(sql.Identifier(table))
        ).fetchone()
        assert row == (0,)


def test_synced_tasks_may_be_forgotten_of_their_options_again(connection: Connection) -> None:
    run(connection, upkeep.sync_tasks([NewJob("greet", priority=1, timeout=None)]))
    run(connection, upkeep.sync_tasks([NewJob("greet"), NewJob("other")]))
    row = job_row(connection, sql_enqueue(connection, "greet", "{}"))
    assert (row.priority, row.timeout) == (100, timedelta(seconds=60))


def test_the_key_that_sql_reports_is_that_of_the_job_there_is(connection: Connection) -> None:
    first = sql_enqueue(connection, "greet", "{}", key="k")
    assert sql_enqueue(connection, "greet", '{"other": 1}', key="k") == first


# No illegal move


def put(connection: Connection, state: str) -> int:
    """A job in *state* of which all else invites to be moved: due, expired, ours, suspected."""
    job_id = add(connection)
    if state in FINAL_STATES:
        claimed = claim_one(connection)
        run(connection, finish([Succeeded(claimed, 0, 0, None)], worker_id=WORKER, moment=0))
        connection.execute(
            "UPDATE pgqueue.finished_jobs SET state = %s WHERE id = %s", [state, job_id]
        )
    else:
        connection.execute(
            """
            UPDATE pgqueue.jobs SET
                state = %(state)s, attempt = 1, worker_id = %(worker)s, run_at = now(),
                cancel_requested_at = CASE %(cancel)s WHEN 1 THEN now() END,
                lease_until = CASE %(state)s WHEN 'running' THEN now() - interval '1s' END,
                reason = CASE %(state)s WHEN 'dead' THEN 'timeout' END
            WHERE id = %(id)s
            """,
            {"state": state, "worker": WORKER, "id": job_id, "cancel": job_id % 2},
        )
    return job_id


def held(connection: Connection, job_id: int) -> Job:
    row = job_row(connection, job_id)
    return Job(
        job_id, 1, row.queue, row.task, row.priority, row.run_at, row.created_at, 0, 0, 5, 3,
        None, None, "{}", None,
    )  # fmt: skip


FAILURE = Failure("E", "e", None, "e")
Move = Callable[[Connection, int], object]


def finishing(make: Callable[[Job], Any]) -> Move:
    return lambda connection, job_id: run(
        connection, finish([make(held(connection, job_id))], worker_id=WORKER, moment=0)
    )


def expire(connection: Connection, job_id: int) -> None:
    connection.execute("UPDATE pgqueue.jobs SET expires_at = now() - interval '1s'")
    run(connection, jobs.expire(limit=9))


def suspect(connection: Connection, job_id: int) -> None:
    connection.execute("UPDATE pgqueue.jobs SET crashes = 1")
    run(
        connection,
        claiming.claim_suspects(
            worker_id=WORKER, queues=["default"], tasks=["work"], lease=LEASE, few=9
        ),
    )


def take(connection: Connection, job_id: int) -> None:
    run(
        connection,
        claiming.claim(worker_id=WORKER, limits={"default": 9}, tasks=["work"], lease=LEASE),
    )


def release_strays(connection: Connection, job_id: int) -> None:
    # Of those that somebody has cancelled none is given back.
    connection.execute("UPDATE pgqueue.jobs SET cancel_requested_at = NULL")
    run(connection, jobs.release_strays(worker_id=WORKER, held=[]))


MOVES: dict[str, Move] = {
    "claim": take,
    "claim suspects": suspect,
    "stage": lambda connection, _: run(connection, jobs.stage(limit=9)),
    "expire": expire,
    "rescue": lambda connection, _: run(connection, jobs.rescue(limit=9)),
    "release strays": release_strays,
    "renew": lambda connection, job_id: run(
        connection, jobs.renew(worker_id=WORKER, ids=[job_id], attempts=[1], lease=LEASE)
    ),
    "succeed": finishing(lambda job: Succeeded(job, 0, 0, None)),
    "retry later": finishing(lambda job: Retried(job, 0, 0, FAILURE, 60)),
    "retry at once": finishing(lambda job: Retried(job, 0, 0, FAILURE, 0)),
    "die": finishing(lambda job: Died(job, 0, 0, FAILURE, Reason.TIMEOUT)),
    "end cancelled": finishing(lambda job: Cancelled(job, 0, 0, None)),
    "snooze": finishing(lambda job: Snoozed(job, 0, 0, 60)),
    "release": finishing(lambda job: Released(job, 0, 0, "why")),
    "crash": finishing(lambda job: Crashed(job, 0, 0, "why")),
    "cancel": lambda connection, job_id: run(connection, verbs.cancel([job_id])),
    "redrive": lambda connection, job_id: run(connection, verbs.retry([job_id])),
    "discard": lambda connection, job_id: run(connection, verbs.discard([job_id])),
    "edit": lambda connection, job_id: run(connection, verbs.edit(job_id, args="{}")),
}
WAITING = {State.BLOCKED, State.SCHEDULED, State.AVAILABLE}
MOVED_FROM: dict[str, set[State]] = {
    "claim": {State.AVAILABLE},
    "claim suspects": {State.AVAILABLE},
    "stage": {State.SCHEDULED},
    "expire": {State.AVAILABLE},
    "renew": set(),
    "cancel": WAITING,
    "redrive": {State.DEAD, State.SCHEDULED},
    "discard": {State.DEAD},
    "edit": set(),
}


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("state", State)
def test_the_database_refuses_every_move_that_is_not_legal(
    connection: Connection, state: State, move: str
) -> None:
    ids = [put(connection, state), put(connection, state)]
    for job_id in ids:
        MOVES[move](connection, job_id)
    expected = MOVED_FROM.get(move, {State.RUNNING})

    for job_id in ids:
        new = State(job_row(connection, job_id).state)
        assert new == state or new in TRANSITIONS[state]
        assert (new != state) == (state in expected)


# Partitions


def test_partitions_come_and_go_beside_an_open_finish_and_an_open_reader(dsn: str) -> None:
    with (
        psycopg.connect(dsn) as finisher,
        psycopg.connect(dsn) as reader,
        psycopg.connect(dsn, autocommit=True) as other,
        psycopg.connect(dsn, autocommit=True) as upkeeper,
    ):
        for _ in range(3):
            add(other, keep=timedelta(days=2))
        other.execute(
            "CREATE TABLE pgqueue.finished_jobs_20010101 (LIKE pgqueue.finished_jobs INCLUDING ALL)"
        )
        other.execute(
            "ALTER TABLE pgqueue.finished_jobs ATTACH PARTITION pgqueue.finished_jobs_20010101 "
            "FOR VALUES FROM ('2001-01-01') TO ('2001-01-02')"
        )
        first, second, third = (claim_one(other) for _ in range(3))
        reader.execute("SELECT FROM pgqueue.attempts")
        _succeed(finisher, first)
        for connection in (other, upkeeper):
            connection.execute("SET statement_timeout = '5s'")
        upkeeper.execute("INSERT INTO pgqueue.queues (name, keep) VALUES ('long', '50 days')")

        made = run(upkeeper, upkeep.make_partitions())
        assert run(upkeeper, upkeep.forget_partitions()) == 0, "the finisher uses the parent"
        _succeed(other, second)
        _succeed(finisher, third)
        finisher.commit()
        reader.rollback()

        assert run(upkeeper, upkeep.forget_partitions()) == 1
        assert made + run(upkeeper, upkeep.make_partitions()) > 15
        row = upkeeper.execute("SELECT count(*) FROM pgqueue.finished_jobs").fetchone()
        assert row == (3,)
        row = upkeeper.execute("SELECT count(*) FROM ONLY pgqueue.finished_jobs_default").fetchone()
        assert row == (0,)


def _succeed(connection: Connection, job: Job) -> None:
    done = finish([Succeeded(job, 0, 0, None)], worker_id=WORKER, moment=0)
    assert run(connection, done) == {job.id}


def test_a_worker_needs_no_rights_over_tables_to_keep_the_partitions(
    connection: Connection,
) -> None:
    connection.execute("CREATE ROLE pgqueue_test_worker")
    connection.execute("GRANT USAGE ON SCHEMA pgqueue TO pgqueue_test_worker")
    connection.execute(
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA pgqueue "
        "TO pgqueue_test_worker"
    )
    connection.execute("GRANT ALL ON ALL SEQUENCES IN SCHEMA pgqueue TO pgqueue_test_worker")
    connection.execute("INSERT INTO pgqueue.queues (name, keep) VALUES ('long', '50 days')")
    connection.execute("SET LOCAL ROLE pgqueue_test_worker")

    assert run(connection, upkeep.make_partitions()) > 0
    assert run(connection, upkeep.forget_partitions()) == 0
    add(connection, keep=timedelta(days=50))
    _succeed(connection, claim_one(connection))


# The bell


def test_a_probe_leaves_no_lock_behind(connection: Connection) -> None:
    add(connection)
    row = connection.execute(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
    ).fetchone()
    assert row == (0,)


def test_there_are_sixteen_bells(connection: Connection) -> None:
    row = connection.execute(
        "SELECT min(bell), max(bell), count(DISTINCT bell) "
        "FROM (SELECT pgqueue.bell('queue ' || n) AS bell FROM generate_series(1, 1000) AS n) AS b"
    ).fetchone()
    assert row == (0, 15, 16)
