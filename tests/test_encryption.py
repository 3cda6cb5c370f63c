"""What is encrypted is nowhere in the clear, and nowhere but where it was put."""

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psycopg
import pytest

import pgqueue
from pgqueue import (
    Cancel,
    Context,
    InvalidOption,
    JobFields,
    KeyRing,
    Tasks,
    UndecodablePayload,
    Waiter,
)
from pgqueue.timetable.schedule import NewSchedule
from pgqueue.worker import Settings, Worker
from pgqueue.worker.logs import JsonFormatter, TextFormatter
from tests.command import Command

QUICK = Settings(poll=timedelta(milliseconds=50))
MARK = "marmalade"
OLD, NEW = KeyRing.new_key(), KeyRing.new_key()


@dataclass
class Person:
    name: str
    born: int


class App:
    """Tasks that encrypt, and what they saw."""

    def __init__(self, ring: KeyRing) -> None:
        self.seen: list[Any] = []
        tasks = self.tasks = Tasks(keys=ring)

        @tasks.task("whole", encrypt=True, max_attempts=1)
        async def whole(person: Person) -> Person:
            self.seen.append(person)
            return Person(person.name, 0)

        @tasks.task("fields", encrypt=["name"], max_attempts=1)
        async def fields(user_id: int, name: str = "nobody", fails: bool = False) -> str:
            self.seen.append(name)
            if fails:
                raise ValueError(f"no such person: {name}")
            return name

        @tasks.task("says", encrypt=True)
        async def says(ctx: Context, name: str, first: bool = True) -> None:
            self.seen.append(ctx.last_checkpoint)
            if ctx.attempt == 1:
                ctx.progress(1, 2, who=name)
                ctx.checkpoint({"until": name})
                ctx.log(f"greeted {name}", who=name)
                raise ValueError(name)
            raise Cancel(f"enough of {name}")

        self.whole, self.fields, self.says = whole, fields, says

    def run_until(self, dsn: str, condition: Callable[[psycopg.Connection[Any]], Any]) -> None:
        async def work() -> None:
            with psycopg.connect(dsn, autocommit=True) as connection:
                async with asyncio.timeout(60), Worker(self.tasks, dsn, QUICK):
                    while not condition(connection):
                        await asyncio.sleep(0.02)

        asyncio.run(work())


@pytest.fixture
def app() -> App:
    return App(KeyRing({"2025": OLD}))


def enqueue(dsn: str, job: pgqueue.NewJob, **options: Any) -> pgqueue.Enqueued:
    with psycopg.connect(dsn) as connection:
        return pgqueue.enqueue(connection, job, **options)


def value(dsn: str, statement: str, *params: Any) -> Any:
    with psycopg.connect(dsn, autocommit=True) as connection:
        row = connection.execute(statement, params).fetchone()
        return None if row is None else row[0]


def over(*ids: int) -> Callable[[psycopg.Connection[Any]], bool]:
    """Whether these jobs are over, or dead."""

    def condition(connection: psycopg.Connection[Any]) -> bool:
        left = connection.execute(
            "SELECT count(*) FROM pgqueue.jobs WHERE id = ANY(%s) AND state <> 'dead'", [list(ids)]
        ).fetchone()
        return left == (0,)

    return condition


def everything(dsn: str) -> str:
    """Every row of every table of the schema, as text."""
    with psycopg.connect(dsn) as connection:
        names = connection.execute(
            "SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'pgqueue'::regnamespace"
            " AND relkind IN ('r', 'p') AND NOT relispartition"
        ).fetchall()
        return "\n".join(
            str(connection.execute(f"SELECT t::text FROM {name} AS t").fetchall())  # noqa: S608
            for (name,) in names
        )


def test_arguments_results_and_errors_are_encrypted_and_come_back(dsn: str, app: App) -> None:
    person = Person(MARK, 1815)
    whole = enqueue(dsn, app.whole.job(person))
    part = enqueue(dsn, app.fields.job(7, name=MARK))
    failed = enqueue(dsn, app.fields.job(8, name=MARK, fails=True))
    app.run_until(dsn, over(whole.id, part.id, failed.id))

    assert sorted(map(str, app.seen)) == sorted(map(str, [person, MARK, MARK]))
    assert MARK not in everything(dsn)
    # What is not encrypted can still be asked for.
    assert value(dsn, "SELECT id FROM pgqueue.all_jobs WHERE args ->> 'user_id' = '7'") == part.id
    dead = "SELECT {} FROM pgqueue.jobs WHERE id = %s"
    assert value(dsn, dead.format("error_type"), failed.id) == "ValueError"
    assert value(dsn, dead.format("reason"), failed.id) == "attempts_exhausted"
    with Waiter(dsn, tasks=app.tasks) as waiter:
        assert waiter.wait(whole, timeout=10) == Person(MARK, 0)
        assert waiter.wait(part, timeout=10) == MARK
        with pytest.raises(pgqueue.JobDead, match=r"\[encrypted\]"):
            waiter.wait(failed, timeout=10)
    with Waiter(dsn) as waiter, pytest.raises(UndecodablePayload, match="tasks="):
        waiter.wait(whole, timeout=10)


def test_what_a_running_job_says_is_encrypted_and_the_next_attempt_reads_it(
    dsn: str, app: App
) -> None:
    job = enqueue(dsn, app.says.job(MARK))
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("UPDATE pgqueue.jobs SET max_attempts = 5")
    app.run_until(dsn, over(job.id))
    assert app.seen == [None, {"until": MARK}]
    assert (
        value(dsn, "SELECT state FROM pgqueue.finished_jobs WHERE id = %s", job.id) == "cancelled"
    )
    assert value(dsn, "SELECT count(*) FROM pgqueue.job_logs WHERE job_id = %s", job.id) == 1
    assert MARK not in everything(dsn)


def test_no_display_shows_more_than_that_it_is_encrypted(dsn: str, app: App) -> None:
    part = enqueue(dsn, app.fields.job(7, name=MARK, fails=True))
    whole = enqueue(dsn, app.whole.job(Person(MARK, 1)), delay=60)
    said = enqueue(dsn, app.says.job(MARK))
    app.run_until(dsn, over(part.id, said.id))
    command = Command(dsn)
    for job_id in (part.id, whole.id, said.id):
        shown = command("jobs", "show", job_id).output
        assert "[encrypted]" in shown
        assert "$encrypted" not in shown
        assert "$encrypted" not in json.dumps(command.json("jobs", "show", job_id))
    assert command.json("jobs", "show", part.id)["args"] == {
        "user_id": 7,
        "fails": True,
        "name": "[encrypted]",
    }
    assert command.json("jobs", "show", whole.id)["args"] == "[encrypted]"
    assert "ValueError: [encrypted]" in command("jobs", "list", "--state", "dead").output


def moved(dsn: str, statement: str, *params: Any) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        assert connection.execute(statement, params).rowcount == 1


def error_of(dsn: str, app: App, job_id: int) -> str:
    app.run_until(dsn, over(job_id))
    assert app.seen == []
    reason = "SELECT reason FROM pgqueue.jobs WHERE id = %s"
    assert value(dsn, reason, job_id) == "undecodable"
    return str(value(dsn, "SELECT error FROM pgqueue.jobs WHERE id = %s", job_id))


def test_a_ciphertext_cannot_be_moved_to_another_job(dsn: str, app: App) -> None:
    mine = enqueue(dsn, app.fields.job(1, name=MARK), delay=3600)
    other = enqueue(dsn, app.fields.job(2, name="x"))
    moved(
        dsn,
        "UPDATE pgqueue.jobs SET args = (SELECT args FROM pgqueue.jobs WHERE id = %s)"
        " WHERE id = %s",
        mine.id,
        other.id,
    )
    assert f"encrypted for job {mine.id}, and found in job {other.id}" in error_of(
        dsn, app, other.id
    )


@pytest.mark.parametrize(
    "change",
    [
        # The other job's id written over this one's: what is encrypted knows better.
        """jsonb_set(args::jsonb, '{$encrypted,job}', to_jsonb(id))""",
        """jsonb_set(args::jsonb, '{$encrypted,job}', 'null')""",
        """args::jsonb #- '{$encrypted,job}'""",
        # A field under another field's name.
        """jsonb_set(args::jsonb, '{$encrypted,fields}',
            jsonb_build_object('user_id', args::jsonb #> '{$encrypted,fields,name}'))""",
        # A bit flipped, a piece cut off, the wrong type.
        """jsonb_set(args::jsonb, '{$encrypted,fields,name}',
            to_jsonb(translate(left(args::jsonb #>> '{$encrypted,fields,name}', 1),
                'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_',
                'BADCFEHGJILKNMPORQTSVUXWZYbadcfehgjilknmporqtsvuxwzy1032547698/+_-')
                || substr(args::jsonb #>> '{$encrypted,fields,name}', 2)))""",
        """jsonb_set(args::jsonb, '{$encrypted,fields,name}',
            to_jsonb(left(args::jsonb #>> '{$encrypted,fields,name}', 20)))""",
        """jsonb_set(args::jsonb, '{$encrypted,fields,name}', '7')""",
        """jsonb_set(args::jsonb, '{$encrypted,fields}', '[]')""",
        """jsonb_set(args::jsonb, '{$encrypted,key}', '"AAAA"')""",
        """jsonb_set(args::jsonb, '{$encrypted}', '"gone"')""",
        """jsonb_set(args::jsonb, '{$encrypted,kid}', '"unheard-of"')""",
    ],
)
def test_what_was_altered_is_undecodable_and_kept(dsn: str, app: App, change: str) -> None:
    if "to_jsonb(id)" in change:
        mine = enqueue(dsn, app.fields.job(1, name=MARK), delay=3600)
        job = enqueue(dsn, app.fields.job(2, name="x"))
        moved(
            dsn,
            "UPDATE pgqueue.jobs SET args = (SELECT args FROM pgqueue.jobs WHERE id = %s)"
            " WHERE id = %s",
            mine.id,
            job.id,
        )
    else:
        job = enqueue(dsn, app.fields.job(1, name=MARK))
    # An envelope begins its text, as ours does: jsonb puts other keys before it.
    moved(
        dsn,
        f"UPDATE pgqueue.jobs SET args = ('{{\"$encrypted\":' || (({change}) -> '$encrypted')::text"  # noqa: S608
        " || ', \"user_id\": 1}')::json WHERE id = %s",
        job.id,
    )
    before = value(dsn, "SELECT args::text FROM pgqueue.jobs WHERE id = %s", job.id)
    assert error_of(dsn, app, job.id)
    assert value(dsn, "SELECT args::text FROM pgqueue.jobs WHERE id = %s", job.id) == before


def test_a_missing_key_is_named_and_the_job_runs_when_it_is_there(dsn: str) -> None:
    job = enqueue(dsn, App(KeyRing({"2025": OLD})).whole.job(Person(MARK, 1)))
    blind = App(KeyRing({"2026": NEW}))
    error = error_of(dsn, blind, job.id)
    # This task encrypts its errors; but this is one about it, for the person who mends it.
    assert "encrypted under key '2025'" in error
    assert "only 2026" in error
    with psycopg.connect(dsn) as connection:
        assert pgqueue.retry(connection, job.id) == "available"
    seeing = App(KeyRing({"2026": NEW, "2025": OLD}, current="2026"))
    seeing.run_until(dsn, over(job.id))
    assert seeing.seen == [Person(MARK, 1)]


def test_a_worker_without_keys_says_so(dsn: str) -> None:
    job = enqueue(dsn, App(KeyRing({"2025": OLD})).whole.job(Person(MARK, 1)))
    app = App(KeyRing({"2025": OLD}))
    keyless = app.tasks = Tasks()

    @keyless.task("whole")
    async def whole(person: Person) -> None: ...

    assert "Tasks(keys=...)" in error_of(dsn, app, job.id)


def test_a_task_that_begins_or_ceases_to_encrypt_still_reads_the_jobs_there_are(dsn: str) -> None:
    plain, sealed = Tasks(keys=KeyRing({"2025": OLD})), Tasks(keys=KeyRing({"2025": OLD}))
    seen: list[str] = []

    async def greet(name: str) -> None:
        seen.append(name)

    before = plain.task("greet")(greet)
    after = sealed.task("greet", encrypt=True)(greet)
    app = App(KeyRing({"2025": OLD}))
    ids = [enqueue(dsn, before.job("a")).id]
    app.tasks = sealed
    app.run_until(dsn, over(*ids))
    ids.append(enqueue(dsn, after.job("b")).id)
    app.tasks = plain
    app.run_until(dsn, over(*ids))
    assert seen == ["a", "b"]


def test_a_renamed_task_still_reads_the_jobs_of_its_old_name(dsn: str) -> None:
    old, new = Tasks(keys=KeyRing({"2025": OLD})), Tasks(keys=KeyRing({"2025": OLD}))
    seen: list[str] = []

    async def greet(name: str) -> str:
        seen.append(name)
        return name

    job = enqueue(dsn, old.task("greet", encrypt=True)(greet).job(MARK))
    new.task("welcome", encrypt=True, aliases=["greet"])(greet)
    app = App(KeyRing({"2025": OLD}))
    app.tasks = new
    app.run_until(dsn, over(job.id))
    assert seen == [MARK]
    with Waiter(dsn, tasks=new) as waiter:
        assert waiter.wait(job, timeout=10) == MARK


def test_the_same_key_is_the_same_job_and_only_what_is_in_the_clear_can_conflict(
    connection: psycopg.Connection[Any], app: App
) -> None:
    first = pgqueue.enqueue(connection, app.fields.job(1, name="a"), key="k")
    same = pgqueue.enqueue(connection, app.fields.job(1, name="a"), key="k")
    unseen = pgqueue.enqueue(connection, app.fields.job(1, name="b"), key="k")
    clear = pgqueue.enqueue(connection, app.fields.job(2, name="a"), key="k")
    assert [first.conflict, same.conflict, unseen.conflict, clear.conflict] == [
        False,
        False,
        False,
        True,
    ]
    assert {same.id, unseen.id, clear.id} == {first.id}
    both = pgqueue.enqueue_many(
        connection, [app.fields.job(n, name="a").options(key="k") for n in (1, 3)]
    )
    assert [each.conflict for each in both] == [False, True]


def test_many_are_encrypted_beside_many_that_are_not(dsn: str, app: App) -> None:
    @app.tasks.task("plain")
    async def plain(n: int) -> None:
        app.seen.append(n)

    jobs = [app.fields.job(n, name=f"{MARK} {n}") if n % 2 else plain.job(n) for n in range(40)]
    with psycopg.connect(dsn) as connection:
        enqueued = pgqueue.enqueue_many(connection, jobs)
    assert len({each.id for each in enqueued}) == 40
    app.run_until(dsn, over(*(each.id for each in enqueued)))
    assert len(app.seen) == 40
    assert {f"{MARK} {n}" for n in range(1, 40, 2)} <= set(app.seen)


def test_an_id_that_was_not_drawn_cannot_be_taken(connection: psycopg.Connection[Any]) -> None:
    for given in (2**40, 0):
        with (
            connection.transaction(),
            pytest.raises(psycopg.errors.InvalidParameterValue, match="drawn"),
        ):
            connection.execute(
                "SELECT * FROM pgqueue.enqueue_many(ARRAY['t'], ARRAY['{}'],"
                " given_ids => ARRAY[%s::bigint])",
                [given],
            )


def test_a_batchs_callback_is_encrypted_until_it_runs(dsn: str, app: App) -> None:
    with psycopg.connect(dsn) as connection:
        batch = pgqueue.enqueue_batch(
            connection, [app.fields.job(1, name=MARK)], on_success=app.whole.job(Person(MARK, 1))
        )
    assert MARK not in everything(dsn)
    app.run_until(dsn, lambda _: len(app.seen) == 2)
    assert app.seen == [MARK, Person(MARK, 1)]
    assert batch.total == 1


def test_what_could_not_be_encrypted_is_refused(connection: psycopg.Connection[Any]) -> None:
    keyless, tasks = Tasks(), Tasks(keys=KeyRing({"2025": OLD}))
    with pytest.raises(InvalidOption, match="needs keys"):
        keyless.task("t", encrypt=True)
    with pytest.raises(InvalidOption, match="list of names"):
        tasks.task("t", encrypt="name")
    with pytest.raises(InvalidOption, match="no argument 'nome'"):
        tasks.task("t", encrypt=["nome"])(lambda name: None)

    @tasks.task("chunk", encrypt=["items"])
    def chunk(items: list[int], chunk_index: int, total_chunks: int) -> None: ...

    pgqueue.enqueue_chunked(connection, chunk, [1, 2, 3], chunk_size=2)
    with pytest.raises(InvalidOption, match="give a list"):
        pgqueue.enqueue_chunked(connection, chunk, iter([1]), chunk_size=2)

    @tasks.task("nightly", encrypt=True)
    def nightly(name: str = "x") -> None: ...

    NewSchedule(name="n", job=nightly.job(), cron="@daily")
    with pytest.raises(InvalidOption, match="in the clear"):
        NewSchedule(name="n", job=nightly.job("y"), cron="@daily")


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_no_line_of_its_log_shows_what_is_encrypted_of_its_arguments(
    dsn: str, app: App, formatter: logging.Formatter
) -> None:
    lines: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    ear = Ear()
    ear.setFormatter(formatter)
    ear.addFilter(JobFields())
    log = logging.getLogger("of.the.application")
    log.addHandler(ear)

    @app.tasks.task("tells", encrypt=["name"], max_attempts=1)
    async def tells(name: dict[str, Any], user_id: int) -> None:
        try:
            raise ValueError(f"{name['first']} is unknown")
        except ValueError:
            log.exception("user %d: %s", user_id, name, extra={"who": name["first"]})

    job = enqueue(dsn, tells.job(name={"first": MARK, "of age": True}, user_id=1815))
    app.run_until(dsn, over(job.id))
    log.removeHandler(ear)
    (line,) = lines
    assert MARK not in line
    assert "1815" in line
    assert "[encrypted] is unknown" in line
    assert "Traceback" in line
    assert "tells" in line


@pytest.mark.parametrize(
    ("keys", "current"),
    [
        ({}, None),
        ({"a": OLD, "b": NEW}, None),
        ({"a": OLD}, "b"),
        ({"a": OLD[:31]}, None),
        ({"a b": OLD}, None),
        ({"a": "text"}, None),
    ],
)
def test_a_key_ring_that_makes_no_sense_is_refused_without_being_quoted(
    keys: dict[str, Any], current: str | None
) -> None:
    with pytest.raises(InvalidOption) as raised:
        KeyRing(keys, current)
    assert repr(OLD)[2:12] not in str(raised.value)


def test_a_key_ring_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Command("").__call__("keys", "new").output.strip()
    monkeypatch.setenv("PGQUEUE_KEYS", f"new:{made}  old:{made}")
    ring = KeyRing.from_environment()
    assert (ring.current, ring.names) == ("new", ["new", "old"])
    assert made not in repr(ring)
    for wrong in ("", "new", "new:***"):
        monkeypatch.setenv("PGQUEUE_KEYS", wrong)
        with pytest.raises(InvalidOption):
            KeyRing.from_environment()


def test_the_test_kit_reads_what_is_encrypted(dsn: str, app: App) -> None:
    from pgqueue.testing import assert_enqueued

    with psycopg.connect(dsn) as connection:
        pgqueue.enqueue(connection, app.fields.job(7, name=MARK))
        assert_enqueued(connection, app.fields, containing={"name": MARK, "user_id": 7})
        assert_enqueued(connection, "fields", containing={"name": "[encrypted]"})
