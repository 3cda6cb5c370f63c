"""Who may do what in the database: a test for each cell of the table, allowed and refused."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.errors import InsufficientPrivilege

import pgqueue
from pgqueue import KeyRing, NewJob, Tasks
from tests.command import Command, run_process
from tests.postgres import Databases
from tests.process import Stage
from tests.worker_tasks import DATABASE

ROLES = ("enqueuer", "worker", "monitor", "operator", "admin")
E, W, M, O, A = ROLES  # noqa: E741

ALLOWED: dict[str, tuple[set[str], str]] = {
    # What an application does.
    "enqueue": ({E, W, A}, "SELECT pgqueue.enqueue('t', key => 'k')"),
    "enqueue many": (
        {E, W, A},
        "SELECT * FROM pgqueue.enqueue_many(ARRAY['t', 't'], ARRAY['{}', '{}'])",
    ),
    "draw an id": ({E, W, A}, "SELECT nextval('pgqueue.jobs_id_seq')"),
    "ask for the revision": (set(ROLES), "SELECT pgqueue.revision()"),
    # What a worker does.
    "read arguments": ({W, A}, "SELECT args FROM pgqueue.jobs"),
    "read metadata": ({W, A}, "SELECT metadata FROM pgqueue.finished_jobs"),
    "read results": ({W, A}, "SELECT result FROM pgqueue.finished_jobs"),
    "read results in the view": ({W, A}, "SELECT result FROM pgqueue.all_jobs"),
    "read tracebacks": ({W, A}, "SELECT traceback FROM pgqueue.attempts"),
    "read checkpoints": ({W, A}, "SELECT checkpoint FROM pgqueue.progress"),
    "read log lines": ({W, A}, "SELECT message FROM pgqueue.job_logs"),
    "read keys": ({W, A}, "SELECT key FROM pgqueue.job_keys"),
    "claim": ({W, A}, "UPDATE pgqueue.jobs SET attempt = attempt WHERE id = 0"),
    "finish": ({W, A}, "DELETE FROM pgqueue.jobs WHERE id = 0"),
    "keep history": (
        {W, A},
        "INSERT INTO pgqueue.finished_jobs SELECT * FROM pgqueue.finished_jobs",
    ),
    "make partitions": ({W, A}, "SELECT pgqueue.make_partitions()"),
    "forget a partition": ({W, A}, "SELECT pgqueue.forget_partition('attempts_20200101')"),
    "write down a verb": ({W, A}, "INSERT INTO pgqueue.audit (actor, verb) VALUES ('a', 'b')"),
    "tick a schedule": ({W, A}, "UPDATE pgqueue.schedules SET runs = runs WHERE id = 0"),
    # What a monitor sees.
    "see what happened": ({W, M, O, A}, "SELECT * FROM pgqueue.audit_trail"),
    **{
        f"see {view}": ({W, M, O, A}, f"SELECT * FROM pgqueue.{view}")  # noqa: S608
        for view in (
            "queue_stats",
            "task_stats",
            "throughput",
            "hourly_throughput",
            "daily_throughput",
            "unserved_tasks",
            "worker_stats",
            "running_stats",
            "batch_stats",
            "alerts",
            "totals",
            "vitals",
            "expired_partitions",
            "unknown_effects",
        )
    },
    **{
        f"see {view}": ({W, O, A}, f"SELECT * FROM pgqueue.{view}")  # noqa: S608
        for view in ("dead_groups", "retries", "audit_log", "schedule_status")
    },
    **{
        f"see {view}": ({W, A}, f"SELECT * FROM pgqueue.{view}")  # noqa: S608
        for view in ("running_jobs", "all_jobs", "job_progress")
    },
    "read a story": ({W, O, A}, "SELECT * FROM pgqueue.job_story(1)"),
    "ask why": ({W, O, A}, "SELECT * FROM pgqueue.why_not_running(1)"),
    "find what runs": ({W, A}, "SELECT args FROM pgqueue.find_running(10)"),
    "call what views call": (
        {W, M, O, A},
        """SELECT * FROM pgqueue.count_queues(), pgqueue.waiting_ages(), pgqueue.find_unserved(),
        pgqueue.sum_rollups('minute', now(), false, false), pgqueue.count_held(1),
        pgqueue.sum_totals(), pgqueue.measure_vitals(), pgqueue.measure_alerts(),
        pgqueue.list_running(1), pgqueue.rule_for('backlog', 'q'),
        pgqueue.attempt_runs(1, 1)""",
    ),
    "call what operators' views call": (
        {W, O, A},
        """SELECT * FROM pgqueue.group_dead(1), pgqueue.find_retrying(1, 1),
        pgqueue.latest_verbs(1)""",
    ),
    "evaluate alerts": ({W, A}, "SELECT pgqueue.evaluate_alerts('0')"),
    # What an operator sees and does.
    "list jobs": ({W, O, A}, "SELECT id, state, task, actor, error FROM pgqueue.jobs"),
    "list errors": ({W, O, A}, "SELECT error_type, error FROM pgqueue.attempts"),
    "see whose the jobs are": ({W, O, A}, "SELECT * FROM pgqueue.home"),
    "list queues": ({W, O, A}, "SELECT * FROM pgqueue.queues"),
    "list workers": ({W, O, A}, "SELECT * FROM pgqueue.workers"),
    "list batches": ({W, O, A}, "SELECT id, total FROM pgqueue.batches"),
    "read the audit": ({O, A}, "SELECT * FROM pgqueue.audit"),
    "cancel": ({W, O, A}, "SELECT pgqueue.cancel(0)"),
    "retry": ({O, A}, "SELECT pgqueue.retry(0)"),
    "discard": ({W, O, A}, "SELECT pgqueue.discard(0)"),
    "edit": ({O, A}, "SELECT pgqueue.edit(0, '{}')"),
    "pause": ({O, A}, "SELECT pgqueue.pause('q')"),
    "resume": ({O, A}, "SELECT pgqueue.resume('q')"),
    "cancel a batch": ({O, A}, "SELECT pgqueue.cancel_batch(0)"),
    "retry a batch": ({O, A}, "SELECT pgqueue.retry_batch(0)"),
    "run now": ({O, A}, "SELECT pgqueue.run_now(0)"),
    "reschedule": ({O, A}, "SELECT pgqueue.reschedule(0, now())"),
    "reprioritise": ({O, A}, "SELECT pgqueue.reprioritise(0, 1)"),
    "move": ({O, A}, "SELECT pgqueue.move(0, 'q')"),
    "find what fits": (
        {O, A},
        'SELECT pgqueue.find_matching(\'{"queue": "q"}\', 0, 1, 1, 1)',
    ),
    **{
        f"steer many: {verb}": (
            {O, A},
            f"SELECT * FROM pgqueue.steer('{verb}', '{{\"ids\": [0]}}', '{setting}')",  # noqa: S608
        )
        for verb, setting in (
            ("cancel", ""),
            ("run_now", ""),
            ("reschedule", "2026-01-01"),
            ("reprioritise", "1"),
            ("move", "q"),
            ("redrive", ""),
            ("discard", ""),
        )
    },
    "resolve an effect": ({O, A}, "SELECT pgqueue.resolve_effect('t', 'k', true)"),
    "list effects": ({W, O, A}, "SELECT task, key FROM pgqueue.effects"),
    "begin an effect": ({W, A}, "UPDATE pgqueue.effects SET call = call"),
    "list alert rules": ({W, O, A}, "SELECT * FROM pgqueue.alert_rules"),
    # What an admin does.
    "set a queue": ({A}, "SELECT pgqueue.set_queue('q', '{}')"),
    "set an alert": ({A}, "SELECT pgqueue.set_alert('backlog', '{}')"),
    "adopt": ({A}, "SELECT pgqueue.adopt()"),
    "declare schedules": ({W, A}, "SELECT * FROM pgqueue.sync_schedules('[]')"),
    "save schedules": ({A}, "SELECT pgqueue.save_schedules('[]')"),
    "make a schedule": (
        {E, W, A},
        """SELECT pgqueue.schedule('{"name": "s", "task": "t", "cron": "0 9 * * *", "tz": "UTC",
        "args": {}, "misfire": "one", "misfire_max": 1, "grace": "1 min", "overlap": "skip",
        "jitter": "0"}')""",
    ),
    "enable a schedule": ({A}, "SELECT pgqueue.enable_schedule('s')"),
    "disable a schedule": ({A}, "SELECT pgqueue.disable_schedule('s')"),
    "remove a schedule": ({A}, "SELECT pgqueue.unschedule('s')"),
    "run a schedule": ({A}, "SELECT pgqueue.run_schedule_now('s')"),
    "admit a worker": ({A}, "GRANT {prefix}worker TO {prefix}guest"),
    # What nobody does but the owner.
    "change the audit": (set(), "UPDATE pgqueue.audit SET actor = actor"),
    "delete from the audit": (set(), "DELETE FROM pgqueue.audit"),
    "truncate the audit": (set(), "TRUNCATE pgqueue.audit"),
    "truncate jobs": (set(), "TRUNCATE pgqueue.jobs"),
    "truncate history": (set(), "TRUNCATE pgqueue.finished_jobs"),
    "make a table": (set(), "CREATE TABLE pgqueue.mine (n integer)"),
    "make a function": (
        set(),
        "CREATE FUNCTION pgqueue.mine() RETURNS integer LANGUAGE sql RETURN 1",
    ),
    "drop a table": (set(), "DROP TABLE pgqueue.tasks"),
    "change a table": (set(), "ALTER TABLE pgqueue.jobs ADD COLUMN mine integer"),
    "make an index": (set(), "CREATE INDEX ON pgqueue.jobs (actor)"),
    "take the triggers away": (set(), "ALTER TABLE pgqueue.audit DISABLE TRIGGER ALL"),
    "set a queue by hand": (set(), "UPDATE pgqueue.queues SET paused_at = NULL"),
    "set an alert by hand": (set(), "UPDATE pgqueue.alert_rules SET enabled = false"),
    "adopt by hand": (set(), "UPDATE pgqueue.home SET database_oid = 1"),
    "make roles": (set(), "SELECT pgqueue.create_roles('other_')"),
    "grant roles": (set(), "SELECT pgqueue.grant_roles('a', 'b', 'c', 'd', 'e')"),
    "read the migrations": (set(), "SELECT * FROM pgqueue.alembic_version"),
}


class House:
    """A database with roles, and their names."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.prefix = f"pgq_{uuid4().hex[:8]}_"

    def role(self, kind: str) -> str:
        return self.prefix + kind

    def dsn_of(self, kind: str) -> str:
        """The DSN of a login that is a member of this role and nothing else."""
        login = self.role(f"{kind}_login")
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            known = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [login])
            if not known.rowcount:
                for statement in ("CREATE ROLE {} LOGIN", "GRANT {1} TO {0}"):
                    connection.execute(
                        sql.SQL(statement).format(*map(sql.Identifier, (login, self.role(kind))))
                    )
        return make_conninfo(self.dsn, user=login)

    def drop_roles(self) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            names = connection.execute(
                "SELECT rolname FROM pg_roles WHERE starts_with(rolname, %s)", [self.prefix]
            ).fetchall()
            for statement in ("DROP OWNED BY {}", "DROP ROLE {}"):
                for (name,) in names:
                    connection.execute(sql.SQL(statement).format(sql.Identifier(name)))


@pytest.fixture(scope="module")
def house(server: Databases) -> Iterator[House]:
    dsn = server.create_migrated()
    house = House(dsn)
    Command(dsn)("roles", "create", "--prefix", house.prefix)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(house.role("guest"))))
    yield house
    house.drop_roles()
    server.drop(dsn)


def attempt(house: House, kind: str, statement: str) -> None:
    with psycopg.connect(house.dsn) as connection:
        connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(house.role(kind))))
        connection.execute(statement.replace("{prefix}", house.prefix))
        connection.rollback()


@pytest.mark.parametrize("kind", ROLES)
@pytest.mark.parametrize("what", sorted(ALLOWED))
def test_a_role_may_do_what_it_is_for_and_nothing_else(house: House, what: str, kind: str) -> None:
    roles, statement = ALLOWED[what]
    if kind in roles:
        attempt(house, kind, statement)
    else:
        with pytest.raises(InsufficientPrivilege):
            attempt(house, kind, statement)


def test_every_function_with_a_role_is_in_the_table(house: House) -> None:
    with psycopg.connect(house.dsn) as connection:
        names = {
            row[0]
            for row in connection.execute(
                "SELECT proname FROM pg_proc WHERE pronamespace = 'pgqueue'::regnamespace"
                " AND pgqueue.roles_of(proname) IS NOT NULL"
            )
        }
    statements = " ".join(statement for _, statement in ALLOWED.values())
    untested = {name for name in names if f"pgqueue.{name}(" not in statements}
    assert untested <= {"enqueue_one", "make_net", "make_partition"}


def test_every_view_is_in_the_table(house: House) -> None:
    views = {
        row[0]
        for row in Command(house.dsn).sql(
            "SELECT relname FROM pg_class WHERE relnamespace = 'pgqueue'::regnamespace"
            " AND relkind = 'v'"
        )
    }
    assert views == {name.removeprefix("see ") for name in ALLOWED if name[4:] in views} | {
        "audit_trail"
    }


def test_whatever_runs_as_the_owner_looks_names_up_where_the_owner_put_them(house: House) -> None:
    with psycopg.connect(house.dsn) as connection:
        careless = connection.execute(
            "SELECT oid::regprocedure::text FROM pg_proc"
            " WHERE pronamespace = 'pgqueue'::regnamespace AND prosecdef"
            " AND NOT coalesce(proconfig @> ARRAY['search_path=pgqueue, pg_temp'], false)"
        ).fetchall()
        open_to_all = connection.execute(
            "SELECT oid::regprocedure::text FROM pg_proc"
            " WHERE pronamespace = 'pgqueue'::regnamespace AND prosecdef"
            " AND has_function_privilege('public', oid, 'EXECUTE')"
        ).fetchall()
    assert careless == []
    assert open_to_all == []


def test_a_temporary_table_does_not_stand_in_for_ours(house: House) -> None:
    with psycopg.connect(house.dsn_of(E)) as connection:
        connection.execute("CREATE TEMP TABLE jobs (id bigint, args text)")
        connection.execute("CREATE TEMP TABLE tasks AS SELECT 1 AS name")
        connection.execute("SET search_path = pg_temp, public")
        job = pgqueue.enqueue(connection, NewJob("t"))
        assert connection.execute("SELECT count(*) FROM pg_temp.jobs").fetchone() == (0,)
    assert Command(house.dsn).sql("SELECT task FROM pgqueue.jobs WHERE id = %s", job.id) == [("t",)]


def test_an_enqueuer_enqueues_from_python_whatever_there_is(house: House) -> None:
    tasks = Tasks(keys=KeyRing({"a": KeyRing.new_key()}))

    @tasks.task("sealed", encrypt=True)
    def sealed(name: str) -> None: ...

    with psycopg.connect(house.dsn_of(E)) as connection:
        first = pgqueue.enqueue(connection, NewJob("t"), key="once")
        again = pgqueue.enqueue(connection, NewJob("t"), key="once")
        many = pgqueue.enqueue_many(connection, [NewJob("t"), sealed.job("x"), NewJob("t")])
        later = pgqueue.enqueue(connection, sealed.job("y"), delay=60, actor="ada")
    assert again.id == first.id
    assert len({each.id for each in [first, *many, later]}) == 5


def test_a_worker_that_is_only_a_worker_does_all_of_its_work(house: House, tmp_path: Path) -> None:
    with psycopg.connect(house.dsn) as connection:
        jobs = [
            NewJob("quick"),
            NewJob("work", '{"seconds": 0.01}', key="a", actor="ada"),
            NewJob("fail-at-first", '{"gate": "never"}', on_dead_task="told"),
        ]
        batch = pgqueue.enqueue_batch(
            connection, jobs[:2], on_complete=NewJob("told", '{"what": "over"}')
        )
        (dying,) = pgqueue.enqueue_many(connection, jobs[2:])
        connection.execute(
            "INSERT INTO pgqueue.attempts_default (job_id, attempt, ended_at, expires_on, outcome,"
            " queue, task) VALUES (1, 1, now(), '2020-01-01', 'failed', 'q', 't')"
        )
    with Stage(house.dsn_of(W), tmp_path) as stage:
        worker = stage.start(rescue_every=0.5)
        watch = Command(house.dsn)
        stage.until(
            lambda: watch.sql(
                "SELECT complete_job_id FROM pgqueue.batches WHERE id = %s"
                " AND complete_job_id IS NOT NULL",
                batch.id,
            )
        )
        # Long ago: the partition is made for it, emptied, and dropped again.
        stage.until(
            lambda: not watch.sql("SELECT FROM pgqueue.attempts WHERE expires_on = '2020-01-01'")
        )
        stage.until(lambda: stage.state(dying.id) == "dead")
        worker.terminate()
        assert worker.wait(30) == 0
        assert "permission denied" not in worker.log


def test_a_handler_whose_role_may_not_finish_is_told_what_it_must_be(
    house: House, tmp_path: Path
) -> None:
    with psycopg.connect(house.dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE effects (job_id bigint, attempt bigint)")
        connection.execute("GRANT ALL ON effects TO PUBLIC")
    with Stage(house.dsn, tmp_path) as stage:
        (job,) = stage.enqueue(NewJob("effect", '{"gate": "open"}', max_attempts=1))
        stage.journal.open_gate("open")
        stage.start(more={DATABASE: house.dsn_of(E)})
        stage.until(lambda: stage.state(job) == "dead")
        error = stage.job(job).error
        assert "may not finish its job" in error
        assert "GRANT pgqueue_worker TO" in error
        assert stage.value("SELECT count(*) FROM effects") == 0


def test_an_operator_works_with_the_command_line(house: House) -> None:
    with psycopg.connect(house.dsn) as connection:
        job = pgqueue.enqueue(connection, NewJob("t", '{"name": "Ada"}'), delay=60)
    command = Command(house.dsn_of(O))
    assert str(job.id) in command("jobs", "list", "--ids").output
    command("queues", "pause", "q", "--reason", "deploy")
    command("jobs", "cancel", job.id, "--actor", "somebody else")
    # Who says to be somebody else is known all the same.
    ((actor, db_user),) = Command(house.dsn).sql(
        "SELECT actor, db_user FROM pgqueue.audit WHERE job_id = %s", job.id
    )
    assert (actor, db_user) == ("somebody else", house.role("operator_login"))
    for words in (("status",), ("schedules", "list")):
        command(*words)


def test_an_operator_is_shown_what_a_job_died_of_but_not_what_it_holds(house: House) -> None:
    with psycopg.connect(house.dsn) as connection:
        told = {"metadata": {"tenant": "secret-0"}, "max_attempts": 1}
        job = pgqueue.enqueue(
            connection, NewJob("fail", '{"name": "secret-1"}').options(**told), queue="shown"
        )
        claimed = connection.execute("SELECT * FROM pgqueue.fetch('shown')").fetchone()
        assert claimed
        connection.execute(
            "SELECT pgqueue.finish(id, attempt, worker_id, 'failed', error => 'no such user',"
            " error_type => 'KeyError', traceback => 'secret-2') FROM pgqueue.jobs WHERE id = %s",
            [job.id],
        )
    operator = Command(house.dsn_of(O))
    for words in (("jobs", "show", job.id), ("dead", "show", job.id)):
        shown = operator(*words).output
        assert "KeyError: no such user" in shown
        assert "only pgqueue_worker and pgqueue_admin may see what jobs hold" in shown
        found = operator.json(*words)
        assert [each["error"] for each in found["attempts"]] == ["no such user"]
        assert "secret" not in shown + str(found)
        seen = str(Command(house.dsn_of(A)).json(*words))
        assert all(f"secret-{n}" in seen for n in range(3))


def test_an_operator_steers_many_jobs_with_the_command_line(house: House) -> None:
    with psycopg.connect(house.dsn) as connection:
        jobs = [
            pgqueue.enqueue(connection, NewJob("t"), queue="steered", delay=60).id for _ in range(6)
        ]
        connection.execute(
            "UPDATE pgqueue.jobs SET state = 'dead', reason = 'timeout', died_at = now()"
            " WHERE id = ANY(%s)",
            [jobs[:3]],
        )
    command = Command(house.dsn_of(O))
    assert command.json("dead", "groups", "-q", "steered")["groups"][0]["jobs"] == 3
    some = ("-q", "steered", "--yes", "--reason", "r")
    for words, done in (
        (("dead", "redrive", *some, "--limit", 1), 1),
        (("dead", "discard", *some), 2),
        (("jobs", "reprioritise", 5, *some), 4),
        (("jobs", "reschedule", "--in", "1h", *some), 4),
        (("jobs", "run-now", *some), 4),
        (("jobs", "move", "--to", "elsewhere", *some), 4),
        (("jobs", "cancel", "-q", "elsewhere", "--yes"), 4),
    ):
        assert command.json(*words)["done"] == done, words
    for words in (("audit", "--by", "x"), ("audit", "--job", jobs[0]), ("alerts", "rules")):
        command(*words)
    for words in (("jobs", "why", jobs[0]), ("jobs", "story", jobs[0])):
        command(*words)


def test_nobody_finds_out_by_a_filter_what_he_may_not_read(house: House) -> None:
    with psycopg.connect(house.dsn) as connection:
        job = NewJob("t").options(delay=60, metadata={"tenant": "acme"})
        pgqueue.enqueue(connection, job)
    words = ("jobs", "cancel", "--metadata", '{"tenant": "acme"}', "--dry-run")
    assert "not allowed" in Command(house.dsn_of(O))(*words, exits=3).output
    assert "1 jobs would be cancelled" in Command(house.dsn)(*words).output


def test_creating_them_again_changes_nothing_and_heals_what_a_migration_undid(
    house: House,
) -> None:
    rights = """
    SELECT relname, relacl::text FROM pg_class WHERE relnamespace = 'pgqueue'::regnamespace
    UNION ALL SELECT oid::regprocedure::text, proacl::text || prosecdef FROM pg_proc
    WHERE pronamespace = 'pgqueue'::regnamespace ORDER BY 1
    """
    command = Command(house.dsn)
    before = command.sql(rights)
    command.sql("ALTER FUNCTION pgqueue.cancel SECURITY INVOKER")
    command.sql("GRANT EXECUTE ON FUNCTION pgqueue.cancel TO PUBLIC")
    assert command.sql(rights) != before
    made = command.json("roles", "create", "--prefix", house.prefix)
    assert made["roles"] == [house.role(kind) for kind in ROLES]
    assert command.sql(rights) == before


def test_who_may_not_make_roles_is_told_so(house: House) -> None:
    result = run_process("roles", "create", dsn=house.dsn_of(W))
    assert result.returncode == 3
    assert "not allowed" in result.stderr


def test_without_roles_nothing_is_changed(dsn: str) -> None:
    command = Command(dsn)
    definers = command.sql(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'pgqueue'::regnamespace AND prosecdef"
        " ORDER BY 1"
    )
    assert [name for (name,) in definers] == [
        "forget_partition",
        "make_net",
        "make_partition",
        "make_partitions",
    ]


def test_roles_get_their_rights_again_when_the_schema_was_made_anew(server: Databases) -> None:
    house = House(server.create_migrated())
    command = Command(house.dsn)
    try:
        for _ in range(2):
            for _ in range(2):
                command("roles", "create", "--prefix", house.prefix)
            attempt(house, E, ALLOWED["enqueue"][1])
            attempt(house, M, "SELECT * FROM pgqueue.queue_stats")
            with pytest.raises(InsufficientPrivilege):
                attempt(house, M, ALLOWED["enqueue"][1])
            found = command.json("doctor", exits=None)["findings"]
            assert [each["severity"] for each in found if each["check"] == "roles"] == ["ok"]
            command("downgrade", "--to", "base", "--yes")
            command("migrate")
    finally:
        house.drop_roles()
        server.drop(house.dsn)
