"""Each thing the doctor looks for: made in a real database, found, gone by the fix it prints."""

import doctest
import shlex
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

import pgqueue
from pgqueue import KeyRing, NewJob, Tasks, statements
from pgqueue.cli.doctor import circumstances
from pgqueue.errors import UndecodablePayload
from pgqueue.migrate import indexes as declared_indexes
from pgqueue.storage import checkup
from pgqueue.storage.checkup import CHECKS, check, rights, server, tables, work
from pgqueue.storage.checkup.check import Check, Circumstances, Finding, Severity, Verdict
from pgqueue.storage.checkup.examination import AT_MOST, examine
from pgqueue.storage.connect import connect
from pgqueue.storage.operation import Statement
from tests.command import Command
from tests.pooler import PROGRAM, pooled
from tests.postgres import dsn_with, eventually

OK, INFO, WARNING, CRITICAL = Severity


def look(dsn: str, *checks: Check, tasks: Tasks | None = None, **how: Any) -> list[Finding]:
    """What these checks find there; all of them, if none is named."""
    with connect(dsn, "cli") as connection:
        here = circumstances(connection, tasks)
        return examine(connection, here, checks=checks or CHECKS, **how)


def one(dsn: str, looked_for: Check, **how: Any) -> Finding:
    (finding,) = look(dsn, looked_for, **how)
    return finding


def apply(dsn: str, fix: str | None) -> None:
    """Paste it: into psql, or into a shell."""
    assert fix is not None
    if fix.startswith("pgqueue "):
        Command(dsn)(*shlex.split(fix, comments=True)[1:])
        return
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in fix.split(";"):
            if not statement.strip().startswith("--") and statement.strip():
                connection.execute(statement)


def settle(dsn: str, name: str, *values: str) -> None:
    """Set something for this database: what is there from the next connection on."""
    database = conninfo_to_dict(dsn)["dbname"]
    listed = ", ".join(f"'{value}'" for value in values)
    Command(dsn).sql(f'ALTER DATABASE "{database}" SET {name} = {listed}')


@pytest.fixture
def sql(dsn: str) -> Any:
    return Command(dsn).sql


def test_in_a_healthy_fresh_database_there_is_nothing_to_do(healthy: str) -> None:
    found = look(healthy, tasks=Tasks())
    assert [each for each in found if each.severity is not OK] == []
    assert [each.check for each in found] == [each.name for each in CHECKS]


def test_each_check_has_a_name_of_its_own_and_each_statement_a_check() -> None:
    names = [each.name for each in CHECKS]
    assert len(set(names)) == len(names)
    asked = {name.removeprefix("check_") for name in statements.names() if name[:6] == "check_"}
    assert asked <= set(names)
    for each in CHECKS:  # a new judge that is not in the list would never be asked
        assert getattr(getattr(checkup, _module_of(each)), each.name) is each
    judges = [value for module in (server, tables, rights, work) for value in vars(module).values()]
    assert {id(each) for each in judges if isinstance(each, Check)} == {id(each) for each in CHECKS}


def _module_of(each: Check) -> str:
    return each.judge.__module__.rpartition(".")[2]


def test_lengths_of_time_are_told_at_a_glance() -> None:
    assert doctest.testmod(check).failed == 0


# The schema.


def test_a_database_without_the_schema_is_told_so_and_its_server_is_looked_at(
    empty_dsn: str,
) -> None:
    found = {each.check: each for each in look(empty_dsn)}
    assert found["schema"].severity is CRITICAL
    assert found["version"].severity is OK
    assert found["dead_workers"].text.startswith("not looked at: the schema is not there")
    apply(empty_dsn, found["schema"].fix)
    assert one(empty_dsn, server.schema).severity is OK


@pytest.mark.parametrize(("revision", "severity"), [("pgqueue_0000", CRITICAL), ("q", INFO)])
def test_a_schema_of_another_version_is_found(
    dsn: str, sql: Any, revision: str, severity: Severity
) -> None:
    sql(f"CREATE OR REPLACE FUNCTION pgqueue.revision() RETURNS text RETURN '{revision}'")
    assert one(dsn, server.schema).severity is severity
    assert revision in one(dsn, server.schema).text


def test_a_schema_that_is_behind_and_can_be_worked_with_is_a_warning() -> None:
    here = Circumstances(head="pgqueue_0002", indexes={})
    (verdict,) = server.schema.judge([("pgqueue_0001",)], here)
    assert (verdict.severity, verdict.fix) == (WARNING, "pgqueue migrate")


def test_a_copy_of_a_database_is_found(dsn: str, sql: Any) -> None:
    sql("UPDATE pgqueue.home SET database_oid = 1")
    found = one(dsn, server.home)
    assert found.severity is CRITICAL
    apply(dsn, found.fix)
    assert one(dsn, server.home).severity is OK


# The server.


@pytest.mark.parametrize(
    ("number", "today", "severity"),
    [
        (140000, date(2026, 1, 1), CRITICAL),
        (150014, date(2027, 11, 11), OK),
        (150014, date(2027, 11, 12), WARNING),
        (190000, date(2027, 11, 12), INFO),
    ],
)
def test_a_version_is_judged_by_its_age(number: int, today: date, severity: Severity) -> None:
    (verdict,) = server.version.judge([(number, "x", today)], Circumstances("", {}))
    assert verdict.severity is severity


def test_what_makes_commits_unsafe_is_found(dsn: str) -> None:
    """The server of the tests has them all off."""
    settle(dsn, "synchronous_commit", "off")
    found = {each.subject: each for each in look(dsn, server.durability)}
    assert {name: each.severity for name, each in found.items()} == {
        "fsync": CRITICAL,
        "full_page_writes": CRITICAL,
        "synchronous_commit": WARNING,
    }
    assert found["fsync"].fix == "ALTER SYSTEM SET fsync = on; SELECT pg_reload_conf();"


def test_a_setting_is_mended_where_it_was_set(healthy: str) -> None:
    settle(healthy, "synchronous_commit", "off")
    found = one(healthy, server.durability)
    assert found.fix == "ALTER DATABASE pgqueue RESET synchronous_commit;"
    apply(healthy, found.fix)
    assert one(healthy, server.durability).severity is OK
    apply(healthy, "ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf();")
    eventually(lambda: one(healthy, server.durability).severity is CRITICAL)
    apply(healthy, one(healthy, server.durability).fix)
    eventually(lambda: one(healthy, server.durability).severity is OK)


@pytest.mark.parametrize(
    ("used", "workers", "severity"),
    [(10, 0, OK), (80, 0, WARNING), (95, 0, CRITICAL), (60, 10, OK), (61, 10, WARNING)],
)
def test_connections_are_to_suffice_for_a_deployment(
    used: int, workers: int, severity: Severity
) -> None:
    (verdict,) = server.connections.judge([(used, 100, workers)], Circumstances("", {}))
    assert verdict.severity is severity


def test_connections_are_counted(dsn: str) -> None:
    before = one(dsn, server.connections).figures["used"]
    more = [psycopg.connect(dsn) for _ in range(20)]
    try:
        after = one(dsn, server.connections).figures
    finally:
        for each in more:
            each.close()
    assert after["used"] >= before + 10  # others come and go on this server
    assert after["most"] == 197


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("statement_timeout", "2s"),
        ("idle_in_transaction_session_timeout", "5s"),
        ("idle_session_timeout", "10min"),
    ],
)
def test_a_timeout_that_cuts_off_workers_is_found(dsn: str, name: str, value: str) -> None:
    settle(dsn, name, value)
    found = one(dsn, server.timeouts)
    assert (found.severity, found.subject) == (WARNING, name)
    apply(dsn, found.fix)
    assert one(dsn, server.timeouts).severity is OK


def test_a_timeout_that_cuts_nobody_off_is_none(dsn: str) -> None:
    settle(dsn, "statement_timeout", "30s")
    assert one(dsn, server.timeouts).severity is OK


@pytest.mark.parametrize(
    ("name", "value", "severity"),
    [
        ("log_statement", "all", WARNING),
        ("log_min_duration_statement", "0", WARNING),
        ("commit_delay", "1000", INFO),
        ("synchronous_commit", "remote_apply", INFO),
    ],
)
def test_a_setting_that_makes_jobs_dear_is_found(
    dsn: str, name: str, value: str, severity: Severity
) -> None:
    settle(dsn, name, value)
    found = one(dsn, server.slow_settings)
    assert (found.severity, found.subject) == (severity, name)
    apply(dsn, found.fix)
    assert one(dsn, server.slow_settings).severity is OK


def test_who_holds_the_notification_queue_is_named(healthy: str) -> None:
    listener = psycopg.connect(healthy, application_name="deaf")
    listener.execute("LISTEN pgqueue_1")
    listener.commit()
    listener.execute("SELECT 1")
    pid = listener.info.backend_pid
    # A hundredth of eight gigabytes: what nobody can throw away.
    Command(healthy).sql(
        "SELECT pg_notify('pgqueue_1', repeat('x', 7900) || n) FROM generate_series(1, 11500) AS n"
    )
    found = one(healthy, server.notifications)
    assert found.severity is WARNING
    assert f"held by session {pid} (deaf, " in found.text
    apply(healthy, found.fix)
    with pytest.raises(psycopg.OperationalError):
        listener.execute("SELECT 1")


def test_a_listener_in_a_long_transaction_is_found(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "LONG_LISTEN", 0)
    with psycopg.connect(dsn) as listener:
        listener.execute("LISTEN pgqueue_1")
        found = one(dsn, server.notifications)
        assert found.severity is WARNING
        assert f"session {listener.info.backend_pid} " in found.text
    assert one(dsn, server.notifications).severity is OK


def test_a_clock_that_is_off_is_found(dsn: str, sql: Any) -> None:
    sql("CREATE SCHEMA skewed")
    sql(
        "CREATE FUNCTION skewed.clock_timestamp() RETURNS timestamptz"
        " RETURN pg_catalog.clock_timestamp() + interval '1 hour'"
    )
    settle(dsn, "search_path", "skewed", "pg_catalog")
    found = one(dsn, server.clock)
    assert found.severity is WARNING
    assert found.figures["ahead"] == pytest.approx(-3600, abs=60)
    assert "behind the server" in found.text


def test_a_clock_is_not_blamed_for_a_slow_line() -> None:
    (verdict,) = server.clock.judge([(2.5, 1.0)], Circumstances("", {}))
    assert verdict.severity is OK


@pytest.mark.parametrize(
    ("is_encrypted", "sslmode", "severity"),
    [
        (False, "prefer", CRITICAL),
        (True, "require", WARNING),
        (True, "verify-ca", WARNING),
        (True, "verify-full", OK),
    ],
)
def test_a_connection_over_a_network_is_judged_by_its_tls(
    is_encrypted: bool, sslmode: str, severity: Severity
) -> None:
    here = Circumstances("", {}, "db.example", False, is_encrypted, sslmode)
    (verdict,) = server.tls.judge([(is_encrypted, "TLSv1.3", "x")], here)
    assert verdict.severity is severity


def test_workers_that_hear_nothing_are_found(dsn: str, sql: Any) -> None:
    add_worker(dsn)
    assert one(dsn, server.pooler).severity is OK
    sql("UPDATE pgqueue.workers SET listening = false")
    assert one(dsn, server.pooler).severity is WARNING


@pytest.mark.skipif(PROGRAM is None, reason="this machine has no pgbouncer")
def test_a_pooler_between_is_noticed_and_everything_is_looked_at_through_it(dsn: str) -> None:
    with pooled(dsn) as by_pooler:
        found = {each.check: each for each in look(by_pooler)}
    assert found["pooler"].severity is INFO
    assert found["claim_plan"].severity is OK
    assert "could not" not in "".join(each.text for each in found.values())


# The tables.


def test_who_holds_a_snapshot_is_named_with_what_it_does(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "HELD", 0)
    with psycopg.connect(dsn, application_name="report") as holder:
        holder.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        holder.execute("/* secret */ SELECT 1")
        found = one(dsn, tables.horizon)
        assert found.severity is WARNING
        assert f"session {holder.info.backend_pid} (report, " in found.text
        assert "idle in transaction" in found.text
        assert "secret" not in found.text
        monkeypatch.setattr(tables, "LONG_HELD", 0)
        assert one(dsn, tables.horizon).severity is CRITICAL
        apply(dsn, found.fix)
        with pytest.raises(psycopg.OperationalError):
            holder.execute("SELECT 1")
    assert one(dsn, tables.horizon).severity is OK


def test_a_snapshot_held_for_a_moment_is_nobody_s_business(dsn: str) -> None:
    with psycopg.connect(dsn) as holder:
        holder.execute("SELECT pg_current_xact_id()")
        assert one(dsn, tables.horizon).severity is OK


def test_a_forgotten_prepared_transaction_is_found(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "HELD", 0)
    name = f"ann''s:{uuid4()}"  # as it is written in SQL
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in ("BEGIN", "SELECT pg_current_xact_id()", f"PREPARE TRANSACTION '{name}'"):
            connection.execute(statement)
    found = one(dsn, tables.horizon)
    assert (found.severity, found.figures["kind"]) == (WARNING, "prepared")
    apply(dsn, found.fix)
    assert one(dsn, tables.horizon).severity is OK


@pytest.mark.parametrize(
    ("row", "severity"),
    [
        (("slot", "s", None, None, None, "inactive", None, 10, None), WARNING),
        (("slot", "s", 7, None, None, "active", None, 10, None), None),
        (("slot", "s", 7, None, None, "active", None, 2_000_000, None), WARNING),
        (("standby", "10.0.0.2", 7, "u", "a", "streaming", None, 2_000_000, None), WARNING),
        (("standby", "10.0.0.2", 7, "u", "a", "streaming", None, 10, None), None),
    ],
)
def test_a_slot_or_a_standby_that_lags_is_found(
    row: tuple[Any, ...], severity: Severity | None
) -> None:
    found = [each.severity for each in tables.horizon.judge([row], Circumstances("", {}))]
    assert found == ([] if severity is None else [severity])


def test_dead_rows_that_nobody_cleans_up_are_found(
    dsn: str, sql: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "MANY_DEAD", 1000)
    sql("ALTER TABLE pgqueue.jobs SET (autovacuum_enabled = off)")
    fill(sql, 1500)
    sql("DELETE FROM pgqueue.jobs")
    eventually(lambda: look(dsn, tables.dead_rows)[0].severity is WARNING)
    found = look(dsn, tables.dead_rows)[0]
    assert "jobs: 1,500 dead rows beside 0 living" in found.text
    apply(dsn, found.fix)
    eventually(lambda: one(dsn, tables.dead_rows).severity is OK)


def test_autovacuum_switched_off_is_found(healthy: str) -> None:
    for setting_, severity in {
        "autovacuum = off": CRITICAL,
        "track_counts = off": CRITICAL,
        "autovacuum_naptime = '1h'": WARNING,
    }.items():
        apply(healthy, f"ALTER SYSTEM SET {setting_}; SELECT pg_reload_conf();")
        eventually(
            lambda severity=severity: one(healthy, tables.vacuum_settings).severity is severity
        )
        apply(healthy, one(healthy, tables.vacuum_settings).fix)
        eventually(lambda: one(healthy, tables.vacuum_settings).severity is OK)


def test_autovacuum_switched_off_for_a_table_is_found(dsn: str, sql: Any) -> None:
    sql("ALTER TABLE pgqueue.jobs SET (autovacuum_enabled = off)")
    sql("ALTER TABLE pgqueue.workers SET (autovacuum_enabled = false)")
    found = look(dsn, tables.table_settings)
    assert [(each.subject, each.severity) for each in found] == [
        ("jobs", CRITICAL),
        ("workers", WARNING),
    ]
    for each in found:
        apply(dsn, each.fix)
    assert one(dsn, tables.table_settings).severity is OK


def test_a_table_that_was_never_analysed_is_found(
    dsn: str, sql: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "MANY_CHANGES", 100)
    sql("ALTER TABLE pgqueue.jobs SET (autovacuum_enabled = off)")
    fill(sql, 500)
    eventually(lambda: one(dsn, tables.statistics).severity is WARNING)
    found = one(dsn, tables.statistics)
    assert found.text == "jobs was never analysed, and 500 rows changed since"
    apply(dsn, found.fix)
    eventually(lambda: one(dsn, tables.statistics).severity is OK)


@pytest.mark.parametrize(
    ("row", "severities"),
    [
        ((100, 1, 200_000_000, 400_000_000), [OK]),
        ((300_000_000, 1, 200_000_000, 400_000_000), [WARNING]),
        ((1_000_000_000, 1, 200_000_000, 400_000_000), [CRITICAL]),
        ((100, 600_000_000, 200_000_000, 400_000_000), [OK, WARNING]),
    ],
)
def test_the_end_of_transaction_ids_is_seen_coming(
    row: tuple[int, ...], severities: list[Severity]
) -> None:
    found = tables.wraparound.judge([row], Circumstances("", {}))
    assert [each.severity for each in found] == severities


def test_every_index_of_a_migrated_database_is_declared(connection: psycopg.Connection) -> None:
    """Read out of the migrations; the indexes of partitions, and of constraints, come with them."""
    there = connection.execute(
        "SELECT class.relname FROM pg_index JOIN pg_class AS class ON class.oid = indexrelid"
        " WHERE class.relnamespace = 'pgqueue'::regnamespace AND NOT class.relispartition"
        " AND (indisprimary OR NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid))"
        " AND class.relname <> 'alembic_version_pkc'"
    ).fetchall()
    declared = declared_indexes.declared()
    assert {name for (name,) in there} == set(declared)
    assert max(len(line) for sql in declared.values() for line in sql.splitlines()) <= 78


def test_missing_indexes_are_found_and_claims_without_theirs(dsn: str, sql: Any) -> None:
    sql("DROP INDEX pgqueue.jobs_available")
    sql("DROP INDEX pgqueue.attempts_job")
    sql("ALTER TABLE pgqueue.workers DROP CONSTRAINT workers_pkey")
    found = look(dsn, tables.indexes)
    assert [(each.subject, each.severity) for each in found] == [
        ("attempts_job", CRITICAL),
        ("jobs_available", CRITICAL),
        ("workers_pkey", CRITICAL),
    ]
    plan = one(dsn, tables.claim_plan)
    assert plan.severity is CRITICAL
    assert "not by jobs_available" in plan.text
    for each in found:
        apply(dsn, each.fix)
    assert [each.severity for each in look(dsn, tables.indexes, tables.claim_plan)] == [OK, OK]


def test_an_invalid_index_is_found(dsn: str, sql: Any) -> None:
    """As CREATE INDEX CONCURRENTLY leaves it when it is interrupted."""
    sql("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'pgqueue.jobs_dead'::regclass")
    found = one(dsn, tables.indexes)
    assert (found.severity, found.subject) == (CRITICAL, "jobs_dead")
    apply(dsn, found.fix)
    assert one(dsn, tables.indexes).severity is OK


def test_a_bloated_index_is_found(dsn: str, sql: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "LARGE_INDEX", 200_000)
    fill(sql, 5000)
    eventually(lambda: one(dsn, tables.indexes).severity is OK)  # full is not bloated
    sql("DELETE FROM pgqueue.jobs")
    sql("VACUUM pgqueue.jobs")
    found = [each for each in look(dsn, tables.indexes) if each.subject == "jobs_available"]
    assert [each.severity for each in found] == [WARNING]
    apply(dsn, found[0].fix)
    assert "jobs_available" not in [each.subject for each in look(dsn, tables.indexes)]


def test_history_without_partitions_is_found(dsn: str, sql: Any) -> None:
    leaves = sql(
        "SELECT 'attempts' || to_char(day, '_YYYYMMDD') FROM pgqueue.days_needed('attempts', 14)"
        " AS day ORDER BY day"
    )
    for (leaf,) in leaves[3:5]:
        sql(f"DROP TABLE pgqueue.{leaf}")
    assert one(dsn, tables.partitions).severity is WARNING
    sql(f"DROP TABLE pgqueue.{leaves[1][0]}")
    found = one(dsn, tables.partitions)
    assert (found.severity, found.subject) == (CRITICAL, "attempts")
    apply(dsn, found.fix)
    assert one(dsn, tables.partitions).severity is OK


def test_rows_that_fell_into_the_net_are_found(dsn: str, sql: Any) -> None:
    sql(
        "INSERT INTO pgqueue.attempts (job_id, attempt, ended_at, expires_on, outcome, queue, task)"
        " VALUES (1, 1, now(), '2100-01-01', 'failed', 'q', 't')"
    )
    found = one(dsn, tables.partitions)
    assert (found.severity, found.figures["strays"]) == (WARNING, 1)
    apply(dsn, found.fix)
    assert one(dsn, tables.partitions).severity is OK


def test_history_that_nobody_forgets_is_told(dsn: str, sql: Any) -> None:
    sql("SELECT pgqueue.make_partition('attempts', '2020-01-01')")
    found = one(dsn, tables.partitions)
    assert (found.severity, found.subject) == (INFO, "attempts")
    apply(dsn, found.fix)
    assert one(dsn, tables.partitions).severity is OK


# Rights.


@pytest.fixture
def prefix(dsn: str) -> Iterator[str]:
    """Roles of this test alone; they belong to the server."""
    prefix = f"pgq_{uuid4().hex[:8]}_"
    command = Command(dsn)
    command("roles", "create", "--prefix", prefix)
    yield prefix
    names = [
        name
        for (name,) in command.sql(
            "SELECT rolname FROM pg_roles WHERE starts_with(rolname, %s)", prefix
        )
    ]
    for name in names:
        command.sql(f'DROP OWNED BY "{name}"')
    for name in names:
        command.sql(f'DROP ROLE "{name}"')


def login(dsn: str, prefix: str, kind: str) -> str:
    """A member of that role; its dsn."""
    command = Command(dsn)
    command.sql(f'CREATE ROLE "{prefix}{kind}_login" LOGIN IN ROLE "{prefix}{kind}"')
    return dsn_with(dsn, user=f"{prefix}{kind}_login")


def test_roles_as_they_were_made_are_all_right(dsn: str, prefix: str) -> None:
    assert one(dsn, rights.roles).severity is OK


@pytest.mark.parametrize(
    ("statement", "role", "lacks"),
    [
        ("REVOKE EXECUTE ON FUNCTION pgqueue.retry FROM {}operator", "operator", "retry"),
        ("REVOKE DELETE ON pgqueue.jobs FROM {}worker", "worker", "DELETE on pgqueue.jobs"),
        ("REVOKE SELECT ON pgqueue.alerts FROM {}monitor", "monitor", "pgqueue.alerts"),
        ("GRANT EXECUTE ON FUNCTION pgqueue.set_queue TO PUBLIC", "PUBLIC", "set_queue"),
    ],
)
def test_a_right_that_was_taken_or_given_away_is_found(
    dsn: str, sql: Any, prefix: str, statement: str, role: str, lacks: str
) -> None:
    sql(statement.format(prefix))
    found = look(dsn, rights.roles)
    # An operator is a monitor, and lacks what that lacks.
    mine = [each for each in found if each.subject in (role, prefix + role)]
    assert [each.severity for each in mine] == [WARNING]
    assert lacks in mine[0].text
    apply(dsn, mine[0].fix)
    assert one(dsn, rights.roles).severity is OK


def test_a_user_who_may_not_finish_jobs_is_told_whose_member_to_be(dsn: str, prefix: str) -> None:
    found = one(login(dsn, prefix, "enqueuer"), rights.membership)
    assert found.severity is INFO
    assert found.fix == f"GRANT {prefix}worker TO {prefix}enqueuer_login;"
    apply(dsn, found.fix)
    assert one(dsn_with(dsn, user=f"{prefix}enqueuer_login"), rights.membership).severity is OK


@pytest.mark.parametrize("kind", ["enqueuer", "monitor", "worker"])
def test_what_a_role_may_not_look_at_it_is_told_and_the_rest_is_looked_at(
    dsn: str, prefix: str, kind: str
) -> None:
    found = look(login(dsn, prefix, kind), tasks=Tasks())
    assert {each.check for each in found} == {each.name for each in CHECKS}
    hidden = {each.check for each in found if each.text.startswith("not allowed to look: needs")}
    assert "horizon" in hidden
    assert ("overdue_leases" in hidden) is (kind != "worker")
    assert ("partitions" in hidden) is (kind != "worker")
    assert ("unserved_tasks" in hidden) is (kind == "enqueuer")
    assert not {"version", "dead_rows", "indexes"} & hidden
    assert "could not look" not in "".join(each.text for each in found)
    (horizon,) = (each for each in found if each.check == "horizon")
    assert horizon.fix == f'GRANT pg_monitor TO "{prefix}{kind}_login";'


def test_who_may_see_nothing_is_not_told_that_all_is_well(dsn: str, prefix: str) -> None:
    Command(dsn).sql(f'CREATE ROLE "{prefix}nobody" LOGIN')
    shut_out = dsn_with(dsn, user=f"{prefix}nobody")
    found = one(shut_out, server.schema)
    assert found.severity is CRITICAL
    assert "may not use the schema" in found.text
    said = Command(shut_out)("doctor", exits=2).stdout.splitlines()[-1]
    assert "not allowed to look" in said
    assert "nothing to do" not in said
    apply(dsn, found.fix)
    assert one(shut_out, server.schema).severity is OK


# The work.


def add_worker(dsn: str, *, seen_ago: str = "0", queues: str = '{"default": 10}') -> None:
    Command(dsn).sql(
        "INSERT INTO pgqueue.workers VALUES (gen_random_uuid(), now() - interval '1 h',"
        " now() - %s::interval, 77, 'web-1', '1', %s, '{known}')",
        seen_ago,
        queues,
    )


def fill(sql: Any, jobs: int) -> None:
    sql(
        "SELECT count(*) FROM pgqueue.enqueue_many("
        "array_fill('t'::text, ARRAY[%s::integer]), array_fill('{}'::text, ARRAY[%s::integer]))",
        jobs,
        jobs,
    )


def enqueue(dsn: str, *jobs: NewJob) -> list[int]:
    with psycopg.connect(dsn) as connection:
        return [job.id for job in pgqueue.enqueue_many(connection, jobs)]


def age(sql: Any) -> None:
    """Let everything have waited for an hour."""
    sql("UPDATE pgqueue.jobs SET run_at = run_at - interval '1 h'")


def test_jobs_that_nobody_takes_back_are_found(dsn: str, sql: Any) -> None:
    enqueue(dsn, NewJob("t"))
    sql(
        "UPDATE pgqueue.jobs SET state = 'running', worker_id = gen_random_uuid(),"
        " lease_until = now() - interval '50 s'"
    )
    assert one(dsn, work.overdue_leases).severity is OK
    sql("UPDATE pgqueue.jobs SET lease_until = now() - interval '10 min'")
    found = one(dsn, work.overdue_leases)
    assert (found.severity, found.figures["jobs"]) == (CRITICAL, 1)
    assert "10 min ago" in found.text


def test_workers_that_vanished_are_told(dsn: str) -> None:
    add_worker(dsn)
    assert one(dsn, work.dead_workers).severity is OK
    add_worker(dsn, seen_ago="10 min")
    found = one(dsn, work.dead_workers)
    assert (found.severity, found.subject) == (INFO, "web-1/77")
    assert "vanished 10 min ago" in found.text


def test_tasks_that_nobody_serves_are_found(dsn: str, sql: Any) -> None:
    enqueue(dsn, NewJob("known"), NewJob("gone"), NewJob("known", queue="email"))
    add_worker(dsn)
    assert one(dsn, work.unserved_tasks).severity is OK, "they have hardly waited yet"
    age(sql)
    found = look(dsn, work.unserved_tasks)
    assert {(each.subject, each.figures["queue"]) for each in found} == {
        ("gone", "default"),
        ("known", "email"),
    }
    assert {each.severity for each in found} == {WARNING}
    tasks = Tasks()
    tasks.task("known")(lambda: None)
    by_task = {each.subject: each for each in look(dsn, work.unserved_tasks, tasks=tasks)}
    assert "nor does --app" in by_task["gone"].text
    assert "nor does --app" not in by_task["known"].text


def test_a_queue_that_only_jobs_name_is_found(dsn: str, sql: Any) -> None:
    enqueue(dsn, NewJob("t", queue="emial"), NewJob("t"), NewJob("t", queue="email"))
    add_worker(dsn, queues='{"email": 1}')
    found = one(dsn, work.unknown_queues)
    assert (found.severity, found.subject) == (WARNING, "emial")
    sql("INSERT INTO pgqueue.queues (name) VALUES ('emial')")
    assert one(dsn, work.unknown_queues).severity is OK


def test_a_name_cannot_become_a_command(dsn: str, sql: Any) -> None:
    """Names come from whoever may enqueue, and what is printed is pasted."""
    enqueue(dsn, NewJob("$(reboot)", queue="q; reboot"))
    age(sql)
    fixes = [each.fix for each in look(dsn, work.unserved_tasks, work.unknown_queues)]
    for fix in fixes:
        assert fix is not None
        words = shlex.split(fix, comments=True)
        assert any("q; reboot" in word for word in words)
        assert ";" not in words


def test_waiting_jobs_that_no_longer_fit_are_found(dsn: str) -> None:
    tasks = Tasks()

    @tasks.task("greet")
    def greet(name: str) -> None: ...

    old = NewJob("greet", '{"nane": "Ada"}')
    first, *_ = enqueue(dsn, old, greet.job("Ada"), NewJob("other", '{"x": 1}'), old)
    enqueue(dsn, old.options(delay=3600))
    with pytest.raises(UndecodablePayload):
        greet.decode(old.args)
    found = one(dsn, work.unfit_arguments, tasks=tasks)
    assert found.severity is CRITICAL
    assert found.figures == {"jobs": 3, "first_id": first}
    assert "(nane) do not fit greet(name: str)" in found.text
    assert one(dsn, work.unfit_arguments, tasks=Tasks()).severity is OK
    assert "needs --app" in one(dsn, work.unfit_arguments).text


def test_a_key_that_is_not_in_the_ring_any_more_is_found(dsn: str) -> None:
    keys = {"2025": KeyRing.new_key(), "2026": KeyRing.new_key()}
    old, new = Tasks(keys=KeyRing(keys, "2025")), Tasks(keys=KeyRing({"2026": keys["2026"]}))
    for tasks in (old, new):
        tasks.task("sealed", encrypt=True)(_sealed)
    enqueue(dsn, new["sealed"].job("Ada"))
    assert one(dsn, work.missing_keys, tasks=new).severity is OK
    enqueue(dsn, old["sealed"].job("Bob"))
    assert one(dsn, work.missing_keys, tasks=old).severity is OK
    found = one(dsn, work.missing_keys, tasks=new)
    assert (found.severity, found.subject) == (CRITICAL, "2025")
    assert one(dsn, work.unfit_arguments, tasks=new).severity is CRITICAL


def _sealed(name: str) -> None: ...


# The examination itself.


def asking(sql: str) -> Check:
    def ask(here: Circumstances) -> Any:
        return (yield Statement(sql, {}))

    return server.version._replace(name="asked", ask=ask)


def test_a_check_that_fails_hides_no_other(dsn: str) -> None:
    def judge(rows: Any, here: Circumstances) -> Iterator[Verdict]:
        raise KeyError("a bug")
        yield

    found = look(dsn, asking("SELECT 1 / 0"), server.version._replace(judge=judge), server.version)
    assert [each.severity for each in found] == [WARNING, WARNING, OK]
    assert "division by zero" in found[0].text
    assert "a bug" in found[1].text


def test_a_check_that_takes_too_long_is_given_up(dsn: str) -> None:
    slow = asking("SELECT pg_sleep(100)")
    found = look(dsn, slow, server.version, patience=timedelta(milliseconds=100))
    assert [each.severity for each in found] == [WARNING, OK]
    assert found[0].text.startswith("given up after 0.1 s")


def test_a_check_cannot_write(dsn: str, sql: Any) -> None:
    (found,) = look(dsn, asking("SELECT pgqueue.enqueue('t')"))
    assert "read-only" in found.text
    assert sql("SELECT count(*) FROM pgqueue.jobs") == [(0,)]


def test_many_of_a_kind_are_cut_short(dsn: str) -> None:
    enqueue(dsn, *(NewJob("t", queue=f"queue {n}") for n in range(AT_MOST + 7)))
    found = look(dsn, work.unknown_queues)
    assert len(found) == AT_MOST + 1
    assert found[-1].text == "and 7 more like these"
