"""The plans of the hot statements hold, whatever the statistics say: those of a queue always lie.

With the settings of a worker's own connections, and the generic plans that these ask for."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import psycopg
import pytest

from pgqueue import statements
from pgqueue.migrate.revisions import location
from pgqueue.storage.connect import SESSION
from pgqueue.testing.databases import Databases

pytestmark = pytest.mark.smoke

Connection = psycopg.Connection[Any]

FILL = """
INSERT INTO pgqueue.jobs (
    run_at, created_at, lease_until, expires_at, died_at, attempt, crashes, max_attempts,
    max_crashes, priority, state, queue, task, worker_id, keep, args, reason, batch_id
)
SELECT
    now() + n * interval '1 ms' * CASE state WHEN 'scheduled' THEN 1 ELSE -1 END,
    now(),
    CASE state WHEN 'running' THEN now() + (n %% 60 - 30) * interval '1 s' END,
    CASE WHEN n %% 20 = 0 THEN now() + (n %% 60 - 30) * interval '1 s' END,
    CASE state WHEN 'dead' THEN now() END,
    n %% 3, CASE WHEN state = 'available' AND n %% 500 = 0 THEN 1 ELSE 0 END, 5, 3,
    n %% 4 * 50, state, 'queue ' || n %% 5, 'task ' || n %% 7,
    CASE state WHEN 'running' THEN md5((n %% 4)::text)::uuid END,
    '7 days', '{"n": 1}', CASE state WHEN 'dead' THEN 'timeout' END,
    CASE WHEN n %% 10 = 0 THEN n / 100 END
FROM (
    SELECT n, CASE WHEN n <= %(available)s THEN 'available' WHEN n %% 10 < 4 THEN 'scheduled'
        WHEN n %% 10 < 7 THEN 'running' ELSE 'dead' END AS state
    FROM generate_series(1, %(jobs)s) AS n
) AS numbered
"""
HISTORY = """
INSERT INTO pgqueue.finished_jobs (
    id, attempt, created_at, run_at, finished_at, expires_on, failures, crashes, max_attempts,
    priority, state, queue, task, worker_id, args
)
SELECT 1000000 + n, 1, now(), now(), now(), current_date + (n % 10)::int, 0, 0, 5, 100,
    'succeeded', 'queue ' || n % 5, 'task ' || n % 7, md5((n % 4)::text)::uuid, '{}'
FROM generate_series(1, 20000) AS n;
INSERT INTO pgqueue.attempts (
    job_id, attempt, ended_at, expires_on, worker_id, outcome, queue, task
)
SELECT n, 1, now(), current_date + (n % 10)::int, md5((n % 4)::text)::uuid, 'failed', 'q', 't'
FROM generate_series(1, 20000) AS n;
INSERT INTO pgqueue.batches (created_at, completed_at, total)
SELECT now(), CASE WHEN n % 20 > 0 THEN now() - n * interval '1 h' END, 10
FROM generate_series(1, 5000) AS n;
INSERT INTO pgqueue.batch_outcomes (batch_id, succeeded)
SELECT n % 100, 1 FROM generate_series(1, 20000) AS n;
INSERT INTO pgqueue.job_keys (scope, key, job_id, fingerprint, expires_at)
SELECT 'task ' || n % 7, n::text, n, n, CASE WHEN n % 2 = 0 THEN now() + n * interval '1s' END
FROM generate_series(1, 20000) AS n;
INSERT INTO pgqueue.effects (
    task, key, call, job_id, attempt, worker_id, started_at, done_at, keep, expires_at
)
SELECT 'task ' || n % 7, n::text, md5(n::text)::uuid, n, 1, md5((n % 4)::text)::uuid, now(),
    CASE WHEN n % 100 > 0 THEN now() END, '90 days',
    CASE WHEN n % 100 > 0 THEN now() + n * interval '1s' END
FROM generate_series(1, 20000) AS n;
INSERT INTO pgqueue.queues (name, paused_at)
SELECT 'queue ' || n, CASE n WHEN 3 THEN now() END FROM generate_series(1, 200) AS n;
INSERT INTO pgqueue.tasks (name, seen_at)
SELECT 'task ' || n, now() FROM generate_series(1, 200) AS n
"""
TABLES = (
    "jobs",
    "finished_jobs",
    "attempts",
    "batches",
    "batch_outcomes",
    "job_keys",
    "effects",
    "queues",
    "tasks",
)


def fill(connection: Connection, *, jobs: int = 25_000, available: int = 20_000) -> None:
    connection.execute(FILL, {"jobs": jobs, "available": available})
    connection.execute(HISTORY)


def analyze(connection: Connection) -> None:
    for table in TABLES:
        connection.execute(f"VACUUM ANALYZE pgqueue.{table}")


def empty(connection: Connection) -> None:
    pass


def fresh(connection: Connection) -> None:
    """Just filled: the statistics are those of an empty table."""
    analyze(connection)
    fill(connection)


def full(connection: Connection) -> None:
    fill(connection)
    analyze(connection)


def drained(connection: Connection) -> None:
    """Emptied: the statistics are those of a full table."""
    full(connection)
    for table in TABLES:
        connection.execute(f"DELETE FROM pgqueue.{table}")  # noqa: S608  fixed names


def never_analysed(connection: Connection) -> None:
    fill(connection)


def grown_since(connection: Connection) -> None:
    """At the last ANALYZE all jobs were waiting; now there are states it has never seen."""
    fill(connection, jobs=1_000, available=1_000)
    analyze(connection)
    connection.execute("DELETE FROM pgqueue.queues; DELETE FROM pgqueue.tasks")
    connection.execute("DELETE FROM pgqueue.job_keys; DELETE FROM pgqueue.effects")
    fill(connection)


def flooded(connection: Connection) -> None:
    """Everything waits, and hardly anything runs: the rare states are a needle in the primary
    key."""
    fill(connection, jobs=60_010, available=60_000)
    analyze(connection)


STATES = [empty, fresh, full, drained, never_analysed, grown_since, flooded]


@pytest.fixture(scope="module", params=STATES, ids=lambda state: state.__name__)
def tables(request: pytest.FixtureRequest, server: Databases) -> Iterator[Connection]:
    """A worker's connection to tables in some state, that nothing analyses behind our back."""
    dsn = server.create_migrated()
    with psycopg.connect(dsn, autocommit=True) as connection:
        leaves = connection.execute(
            "SELECT oid::regclass::text FROM pg_class "
            "WHERE relnamespace = 'pgqueue'::regnamespace AND relkind = 'r'"
        ).fetchall()
        for (leaf,) in leaves:
            connection.execute(f"ALTER TABLE {leaf} SET (autovacuum_enabled = off)")
        request.param(connection)
        connection.execute(SESSION, {"local": False})
        yield connection
    server.drop(dsn)


class Node(NamedTuple):
    """What a plan does to a table."""

    kind: str
    table: str | None
    by: str | None
    condition: str
    filter: str


def nodes_of(plan: dict[str, Any]) -> Iterator[Node]:
    yield Node(
        plan["Node Type"],
        plan.get("Relation Name"),
        plan.get("Index Name"),
        plan.get("Index Cond", ""),
        plan.get("One-Time Filter", ""),
    )
    for below in plan.get("Plans", ()):
        yield from nodes_of(below)


def explain(connection: Connection, sql: str) -> dict[str, Any]:
    """The plan of *sql*, whose parameters are ``$1``, ``$2`` and so on, all typed."""
    count = max((int(number) for number in re.findall(r"\$(\d+)", sql)), default=0)
    connection.execute(f"PREPARE hot AS {sql}")
    try:
        nulls = f"({', '.join(['NULL'] * count)})" if count else ""
        row = connection.execute(f"EXPLAIN (FORMAT JSON) EXECUTE hot{nulls}").fetchone()
        assert row
        plan: dict[str, Any] = row[0][0]["Plan"]
        return plan
    finally:
        connection.execute("DEALLOCATE hot")


def plan_of(connection: Connection, name: str) -> list[Node]:
    numbers: dict[str, str] = {}
    sql = re.sub(
        r"%\((\w+)\)s",
        lambda match: numbers.setdefault(match[1], f"${len(numbers) + 1}"),
        statements.load(name),
    )
    return list(nodes_of(explain(connection, sql)))


def scanned(nodes: list[Node], table: str) -> set[str | None]:
    """The indexes by which *table* is read; None: not by one."""
    return {
        node.by
        for node in nodes
        if node.table is not None
        and re.fullmatch(rf"{table}(_\d{{8}}|_default)?", node.table)
        and node.kind != "ModifyTable"
    }


KEY = {"jobs_pkey"}
INDEXES_OF_JOBS = {
    "claim_jobs": {"jobs_available", *KEY},
    "claim_beyond": {"jobs_available", *KEY},
    "search_head": {"jobs_available"},
    "claim_suspects": {"jobs_suspect", *KEY},
    "find_suspects": {"jobs_suspect"},
    "find_sealed_jobs": KEY,
    "rewrap_jobs": KEY,
    "finish_succeeded": KEY,
    "finish_retried": KEY,
    "finish_dead": KEY,
    "finish_cancelled": KEY,
    "finish_postponed": KEY,
    "finish_crashed": KEY,
    "renew_leases": KEY,
    "find_held": KEY,
    "find_unlocked": KEY,
    "lock_running_job": KEY,
    "lock_undecided": KEY,
    "rescue_jobs": {"jobs_lease", *KEY},
    "release_strays": {"jobs_lease", *KEY},
    "stage_jobs": {"jobs_scheduled", *KEY},
    "expire_jobs": {"jobs_expiring", *KEY},
    "list_jobs": {"jobs_batch", *KEY},
    "prune_batches": {"jobs_batch"},
    "replace_start": {"jobs_batch"},
    "read_status": KEY,
    "write_progress": KEY,
    "append_logs": KEY,
    "prune_progress": KEY,
}


COLUMN_OF = {
    "jobs_pkey": "id",
    "jobs_available": "queue",
    "jobs_suspect": "queue",
    "jobs_lease": "lease_until",
    "jobs_scheduled": "run_at",
    "jobs_expiring": "expires_at",
    "jobs_batch": "batch_id",
    "batches_completed": "completed_at",
    "batch_outcomes_batch": "batch_id",
}


@pytest.mark.parametrize("name", INDEXES_OF_JOBS)
def test_jobs_are_reached_by_the_index_that_is_meant(tables: Connection, name: str) -> None:
    nodes = plan_of(tables, name)
    assert scanned(nodes, "jobs") == INDEXES_OF_JOBS[name]
    assert [node for node in nodes if node.kind == "Seq Scan"] == []
    for node in nodes:
        if node.by in COLUMN_OF:
            assert COLUMN_OF[node.by] in node.condition, "an index is walked from end to end"


def test_a_look_behind_the_cursors_reads_the_pages_of_its_span(tables: Connection) -> None:
    read = [node.kind for node in plan_of(tables, "find_behind") if node.table == "jobs"]
    assert read == ["Tid Range Scan"]


def test_a_claim_walks_the_head_of_the_queue_and_sorts_nothing(tables: Connection) -> None:
    nodes = plan_of(tables, "claim_jobs")
    assert [node for node in nodes if "Sort" in node.kind] == []
    assert [node.kind for node in nodes if node.by == "jobs_available"] == ["Index Scan"]
    assert scanned(nodes, "queues") == {"queues_pkey"}


def test_a_trial_walks_the_head_as_a_claim_does(tables: Connection) -> None:
    nodes = plan_of(tables, "search_head")
    assert [node for node in nodes if "Sort" in node.kind] == []
    assert [node.kind for node in nodes if node.by == "jobs_available"] == ["Index Scan"]


@pytest.mark.parametrize(
    ("name", "of_batches", "of_outcomes"),
    [
        ("find_batches", {"batches_pkey"}, {"batch_outcomes_batch"}),
        ("list_batches", {"batches_pkey", "batches_open"}, {"batch_outcomes_batch"}),
        ("prune_batches", {"batches_completed", "batches_pkey"}, set()),
    ],
)
def test_batches_are_reached_by_the_index_that_is_meant(
    tables: Connection, name: str, of_batches: set[str], of_outcomes: set[str]
) -> None:
    nodes = plan_of(tables, name)
    assert scanned(nodes, "batches") == of_batches
    assert scanned(nodes, "batch_outcomes") == of_outcomes
    assert [node for node in nodes if node.kind == "Seq Scan"] == []
    for node in nodes:
        if node.by in ("batches_completed", "batch_outcomes_batch"):
            assert COLUMN_OF[node.by] in node.condition


def statements_of(part: str, begin: str, end: str) -> Iterator[str]:
    """Statements inside the functions of a part of the schema, their parameters numbered."""
    text = (location() / "versions/pgqueue_0001" / f"{part}.sql").read_text(encoding="utf-8")
    for found in re.findall(rf"{begin}.*?(?={end})", text, re.DOTALL):
        numbers: dict[str, str] = {}
        sql = re.sub(r" INTO \w+(?= FROM)", "", found)
        yield re.sub(
            r"\b(?:close|cancel|retry)_batch(?:es)?\.(\w+)",
            lambda match, numbers=numbers: (
                numbers.setdefault(match[1], f"${len(numbers) + 1}") + "::bigint"
            ),
            sql,
        )


def test_a_closer_probes_for_the_next_batch_and_reads_its_outcomes_alone(
    tables: Connection,
) -> None:
    (probe,) = statements_of("batches", "SELECT outcome.batch_id INTO", ";")
    forget, fold = statements_of("batches", "DELETE FROM pgqueue.batch_outcomes", r";|\n    \)")
    for sql in (probe, forget, fold):
        nodes = list(nodes_of(explain(tables, sql)))
        assert scanned(nodes, "batch_outcomes") == {"batch_outcomes_batch"}
        assert [node for node in nodes if node.kind in ("Seq Scan", "Sort")] == []
        for node in nodes:
            if node.by == "batch_outcomes_batch":
                assert "batch_id" in node.condition


def test_the_verbs_of_a_batch_walk_its_own_jobs_in_order(tables: Connection) -> None:
    chosen = list(statements_of("batch_verbs", "SELECT job.id FROM", r"\n    \)"))
    assert len(chosen) == 2
    for sql in chosen:
        nodes = list(nodes_of(explain(tables, sql)))
        assert scanned(nodes, "jobs") == {"jobs_batch"}
        assert [node for node in nodes if node.kind in ("Seq Scan", "Sort")] == []


@pytest.mark.parametrize("sought", ["$1::bigint", "1000007"], ids=["generic", "custom"])
def test_a_job_is_found_by_id_in_sixty_partitions_by_their_indexes(dsn: str, sought: str) -> None:
    """In anybody's session: none of our settings are there."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "SELECT pgqueue.make_partition('finished_jobs', current_date + n)"
            " FROM generate_series(0, 59) AS n"
        )
        history = HISTORY.partition(";")[0].replace("n % 10", "n % 60")
        connection.execute(history.replace("20000", "60000"))
        connection.execute(FILL, {"jobs": 25_000, "available": 20_000})
        analyze(connection)
        connection.execute("SET plan_cache_mode = force_generic_plan")
        look = "SELECT * FROM pgqueue.all_jobs WHERE id = "
        nodes = list(nodes_of(explain(connection, look + sought)))
    leaves = [node for node in nodes if re.search(r"_\d{8}$", node.table or "")]
    assert len(leaves) == 60
    assert {node.kind for node in leaves} == {"Index Scan"}
    assert all(re.fullmatch(r"\(id = .*\)", node.condition) for node in leaves)
    assert scanned(nodes, "jobs") == {"jobs_pkey"}


def test_a_stager_reads_what_is_due_in_the_order_of_its_index(tables: Connection) -> None:
    assert [node for node in plan_of(tables, "stage_jobs") if node.kind == "Sort"] == []


@pytest.mark.parametrize("name", ["find_finished", "find_written"])
def test_history_is_reached_by_id(tables: Connection, name: str) -> None:
    nodes = plan_of(tables, name)
    assert [node for node in nodes if node.kind == "Seq Scan"] == []
    for table in ("finished_jobs", "attempts"):
        for index in scanned(nodes, table):
            assert index
            assert re.search(r"_(id|job_id_attempt)_idx$", index)


def test_what_is_awaited_is_looked_for_in_history_only_if_it_is_not_alive(
    tables: Connection,
) -> None:
    nodes = plan_of(tables, "read_status")
    assert scanned(nodes, "progress") == {"progress_pkey"}
    for index in scanned(nodes, "finished_jobs"):
        assert index
        assert index.endswith("_id_idx")
    leaves = [node for node in nodes if scanned([node], "finished_jobs")]
    filters = [node.filter for node in nodes if node.filter]
    assert filters == ["(live.id IS NULL)"] * len(leaves), "a one-time filter above each partition"


@pytest.mark.parametrize(
    "given",
    [
        {"wanted": "$1::text", "tasks": "$2::text[]", "n": "$3::integer"},
        {"wanted": "'queue 1'", "tasks": "NULL::text[]", "n": "1"},
        {"wanted": "'queue 1'", "tasks": "ARRAY['task 1']", "n": "1000"},
        {"wanted": "'no such queue'", "tasks": "NULL::text[]", "n": "1"},
    ],
    ids=["generic", "one", "many of a task", "of no queue"],
)
def test_a_fetch_by_hand_walks_the_head_of_the_queue(
    tables: Connection, given: dict[str, str]
) -> None:
    """In anybody's session: there are no settings but the function's own."""
    with psycopg.connect(tables.info.dsn, autocommit=True) as application:
        settings = application.execute(
            "SELECT split_part(setting, '=', 1), split_part(setting, '=', 2)"
            " FROM pg_proc, unnest(proconfig) AS setting"
            " WHERE pg_proc.oid = 'pgqueue.fetch'::regproc"
        ).fetchall()
        for setting in settings:
            application.execute("SELECT set_config(%s, %s, false)", setting)
        for index, probe in zip(
            ("jobs_suspect", "jobs_available"), fetch_probes(application, given), strict=True
        ):
            nodes = list(nodes_of(explain(application, probe)))
            assert scanned(nodes, "jobs") == {index}
            assert [node for node in nodes if "Sort" in node.kind] == []


def fetch_probes(connection: Connection, given: dict[str, str]) -> list[str]:
    """The two statements with which pgqueue.fetch chooses, with its variables as given."""
    row = connection.execute(
        "SELECT prosrc FROM pg_proc WHERE oid = 'pgqueue.fetch'::regproc"
    ).fetchone()
    assert row
    probes = re.findall(r"ARRAY\((\s*SELECT id.*?SKIP LOCKED)\s*\)", row[0], re.DOTALL)
    return [
        re.sub(r"\b(wanted|tasks|n)\b", lambda variable: given[variable[0]], probe)
        for probe in probes
    ]


def test_keys_are_pruned_by_their_expiry(tables: Connection) -> None:
    nodes = plan_of(tables, "prune_keys")
    assert scanned(nodes, "job_keys") == {"job_keys_expiring", "job_keys_pkey"}


def test_effects_go_by_their_key_and_are_pruned_by_their_expiry(tables: Connection) -> None:
    for name in ("begin_effect", "end_effect"):
        nodes = plan_of(tables, name)
        assert scanned(nodes, "jobs") == {"jobs_pkey"}, name
        assert scanned(nodes, "effects") <= {"effects_pkey", "effects"}, name
    nodes = plan_of(tables, "prune_effects")
    assert scanned(nodes, "effects") == {"effects_expiring", "effects_pkey"}


def test_effects_are_listed_by_when_they_were_started(tables: Connection) -> None:
    nodes = plan_of(tables, "list_effects")
    assert scanned(nodes, "effects") == {"effects_started"}
    assert [node for node in nodes if node.kind == "Sort"] == []


def test_due_schedules_and_old_ticks_are_found_by_their_indexes(tables: Connection) -> None:
    nodes = plan_of(tables, "find_schedules")
    assert scanned(nodes, "schedules") == {"schedules_due"}
    assert [node for node in nodes if node.kind == "Sort"] == []
    assert all("next_run_at" in node.condition for node in nodes if node.by == "schedules_due")
    assert scanned(plan_of(tables, "run_queued"), "schedules") == {"schedules_queued"}
    nodes = plan_of(tables, "prune_ticks")
    assert scanned(nodes, "ticks") == {"ticks_made_at", "ticks_pkey"}
    assert scanned(nodes, "schedule_gaps") == {"schedule_gaps_made_at", "schedule_gaps_pkey"}


def test_whether_a_schedule_has_a_job_is_asked_without_its_dead_ones(tables: Connection) -> None:
    """A schedule whose jobs always die leaves thousands, and is asked at each tick."""
    nodes = list(nodes_of(explain(tables, (
        "SELECT FROM pgqueue.jobs AS job WHERE job.schedule_id = $1::bigint"
        " AND job.state <> 'dead'"
    ))))  # fmt: skip
    assert scanned(nodes, "jobs") == {"jobs_schedule"}
    body = tables.execute("SELECT pg_get_functiondef('pgqueue.is_under_way'::regproc)").fetchone()
    assert body
    assert "job.state <> 'dead'" in body[0]


def test_what_is_encrypted_in_history_is_counted_in_steps_by_id(tables: Connection) -> None:
    nodes = plan_of(tables, "count_sealed_history")
    assert None not in scanned(nodes, "finished_jobs")
    assert not {node.kind for node in nodes} & {"Sort", "Incremental Sort"} or all(
        node.table is None for node in nodes if node.kind == "Sort"
    )


def test_progress_is_walked_by_its_primary_key(tables: Connection) -> None:
    nodes = plan_of(tables, "prune_progress")
    assert scanned(nodes, "progress") == {"progress_pkey"}
    assert [node for node in nodes if node.kind == "Sort"] == []


def test_recent_history_is_read_from_its_end_and_not_sorted_whole(tables: Connection) -> None:
    nodes = plan_of(tables, "check_slow_tasks")
    by = scanned(nodes, "finished_jobs")
    assert by
    assert all(index and index.endswith("_id_idx") for index in by)
    assert "Merge Append" in {node.kind for node in nodes}


@pytest.mark.parametrize("mode", ["force_generic_plan", "force_custom_plan"])
def test_enqueue_reads_no_jobs_and_finds_keys_by_their_primary_key(
    tables: Connection, mode: str
) -> None:
    """In the application's own session: none of our settings are there."""
    with psycopg.connect(tables.info.dsn, autocommit=True) as application:
        application.execute(f"SET plan_cache_mode = {mode}")
        plan = explain(application, enqueue_statement(application))
    nodes = list(nodes_of(plan))

    assert scanned(nodes, "jobs") == set()
    assert scanned(nodes, "job_keys") == set()
    assert _arbiters(plan) == {"job_keys_pkey"}


def enqueue_statement(connection: Connection) -> str:
    """The one statement inside pgqueue.enqueue_many, its variables as parameters."""
    row = connection.execute(
        "SELECT prosrc, proargnames[1:pronargs], "
        "ARRAY(SELECT format_type(t, NULL) FROM unnest(proargtypes) AS t) "
        "FROM pg_proc WHERE oid = 'pgqueue.enqueue_many'::regproc"
    ).fetchone()
    assert row
    source, names, types = row
    body = source[source.index("WITH numbered") : source.rindex(";\nEND")]
    parameter = {
        name: f"${n}::{t}" for n, (name, t) in enumerate(zip(names, types, strict=True), 1)
    }
    arrays = re.search(r"FROM unnest\(([^)]*)\) WITH ORDINALITY", body)
    assert arrays
    typed = ", ".join(parameter[name.strip()] for name in arrays[1].split(","))
    body = body.replace(arrays[1], typed).replace("WHERE notify", f"WHERE {parameter['notify']}")
    body = re.sub(r"\benqueue_many\.(\w+)", lambda qualified: parameter[qualified[1]], body)
    return re.sub(r"\bmoment\b", "clock_timestamp()", body)


def _arbiters(plan: dict[str, Any]) -> set[str]:
    found = set(plan.get("Conflict Arbiter Indexes", ()))
    for below in plan.get("Plans", ()):
        found |= _arbiters(below)
    return found


LOOKS = [
    *(
        f"pgqueue.{view}"
        for view in (
            *("queue_stats", "task_stats", "throughput", "hourly_throughput", "daily_throughput"),
            *("running_jobs", "running_stats", "retries", "dead_groups", "unserved_tasks"),
            *("worker_stats", "batch_stats", "audit_log", "alerts", "schedule_status"),
            *("totals", "vitals", "unknown_effects"),
        )
    ),
    *(f"pgqueue.why_not_running({id})" for id in (1, 21_000, 1_000_007)),
    "pgqueue.job_story(1000007)",
    "pgqueue.group_dead(10000, 'queue 1', 'task 1', now() - interval '1 hour')",
    *(
        f"pgqueue.find_matching('{{{filter}}}', 0, 1000000, 500, 20000)"
        for filter in ('"queue": "queue 1"', '"batch_id": 7', '"ids": [1, 2]', '"state": "dead"')
    ),
]
BIG = r"(jobs|finished_jobs|attempts)(_\d{8}|_default)?"


def read_whole(dsn: str, look: str) -> list[str]:
    """The big tables that *look* walks through from end to end, in anybody's session: as counted by
    the server, for the plans of functions cannot be seen from outside."""
    with psycopg.connect(dsn) as anybody:
        anybody.execute(f"SELECT * FROM {look}").fetchall()  # noqa: S608  fixed names
        return walked_through(anybody)


def walked_through(connection: Connection) -> list[str]:
    """The big tables that the present transaction, the first of its session, has read so."""
    scans = connection.execute(
        "SELECT relname FROM pg_stat_xact_user_tables WHERE schemaname = 'pgqueue' AND seq_scan > 0"
    ).fetchall()
    return [table for (table,) in scans if re.fullmatch(BIG, table)]


@pytest.mark.parametrize("look", LOOKS)
def test_no_view_reads_a_big_table_whole(tables: Connection, look: str) -> None:
    assert read_whole(tables.info.dsn, look) == []


@pytest.mark.parametrize(
    "name",
    [
        *(name for name in statements.names() if name.startswith("watch_")),
        *("check_overdue_leases", "check_dead_workers", "check_unserved_tasks"),
        *("check_unknown_queues", "check_unfit_arguments", "check_missing_keys"),
    ],
)
def test_no_look_of_top_or_doctor_reads_a_big_table_whole(tables: Connection, name: str) -> None:
    with psycopg.connect(tables.info.dsn) as watcher:
        watcher.execute(SESSION, {"local": False})
        watcher.execute(statements.load(name), {"limit": 100}).fetchall()
        assert walked_through(watcher) == []


def test_a_table_that_is_read_whole_would_be_seen(tables: Connection) -> None:
    assert read_whole(tables.info.dsn, "(SELECT max(args::text) FROM pgqueue.jobs) AS size") == [
        "jobs"
    ]


def test_every_view_is_looked_at_here(tables: Connection) -> None:
    views = tables.execute(
        "SELECT 'pgqueue.' || viewname FROM pg_views WHERE schemaname = 'pgqueue'"
        " AND viewname NOT IN ('all_jobs', 'job_progress', 'expired_partitions',"
        " 'audit_trail')"
    ).fetchall()
    assert {view for (view,) in views} <= set(LOOKS)
