"""Enqueue joins the application's transaction, whatever kind of connection that has."""

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, get_type_hints

import psycopg
import pytest
import sqlalchemy
from psycopg import AsyncRawCursor, ClientCursor, RawCursor, errors
from psycopg.adapt import Dumper, Loader
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row, kwargs_row, namedtuple_row, scalar_row
from psycopg.types.json import set_json_loads
from sqlalchemy import create_engine
from sqlalchemy.exc import PendingRollbackError, UnboundExecutionError
from sqlalchemy.ext.asyncio import (
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    mapped_column,
    scoped_session,
    sessionmaker,
)
from sqlalchemy.pool import NullPool

from pgqueue import (
    InvalidOption,
    InvalidPayload,
    LargePayload,
    NewJob,
    SchemaMismatch,
    Tasks,
    UnsupportedConnection,
    enqueue,
    enqueue_async,
    enqueue_many,
    enqueue_many_async,
)
from pgqueue.options import JobOptions
from pgqueue.storage.drivers import run
from pgqueue.storage.upkeep import sync_tasks
from tests.connections import KINDS, Application, Kind, driver_of
from tests.postgres import url_of

pytestmark = pytest.mark.smoke

JOB = NewJob("greet", '{"name": "Ada"}')
BELL_CLASS = 1885827377


@pytest.fixture(params=KINDS.values(), ids=list(KINDS))
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def application(kind: Kind, dsn: str) -> Iterator[Application]:
    with kind(dsn) as application:
        yield application


@pytest.fixture
def outside(dsn: str) -> Iterator[psycopg.Connection[Any]]:
    """Sees what is committed, and nothing else."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def outside_of_empty(empty_dsn: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def sleeper(dsn: str) -> Iterator[psycopg.Connection[Any]]:
    """A worker asleep: it listens, and holds every bell."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("LISTEN pgqueue")
        connection.execute(
            "SELECT pg_advisory_lock_shared(%s, bell) FROM generate_series(0, 15) AS bell",
            [BELL_CLASS],
        )
        yield connection


def jobs_in(connection: psycopg.Connection[Any]) -> list[int]:
    return [row[0] for row in connection.execute("SELECT id FROM pgqueue.jobs ORDER BY id")]


def job_row(connection: psycopg.Connection[Any], job_id: int) -> Any:
    with connection.cursor(row_factory=namedtuple_row) as cursor:
        return cursor.execute("SELECT * FROM pgqueue.jobs WHERE id = %s", [job_id]).fetchone()


def rings(sleeper: psycopg.Connection[Any], outside: psycopg.Connection[Any]) -> list[str]:
    """The queues that *sleeper* was told of up to now: notifications come in the order of
    commits."""
    outside.execute("NOTIFY pgqueue, '-now-'")
    heard = (notification.payload for notification in sleeper.notifies(timeout=30))
    return list(iter(heard.__next__, "-now-"))


# The transaction is the application's


def test_a_job_exists_when_its_transaction_commits_and_not_before(
    application: Application, outside: psycopg.Connection[Any]
) -> None:
    enqueued = application.enqueue(JOB)

    assert jobs_in(outside) == []
    application.commit()
    assert jobs_in(outside) == [enqueued.id]
    assert not enqueued.duplicate
    assert not enqueued.conflict


def test_acceptance_27_a_rollback_leaves_no_job_no_key_and_no_notification(
    application: Application,
    outside: psycopg.Connection[Any],
    sleeper: psycopg.Connection[Any],
) -> None:
    application.enqueue(JOB, key="once", queue="gone")
    application.enqueue_many([JOB.options(queue="gone"), JOB.options(queue="gone", key="twice")])
    application.rollback()

    assert jobs_in(outside) == []
    assert outside.execute("SELECT count(*) FROM pgqueue.job_keys").fetchone() == (0,)
    application.enqueue(JOB, key="once", queue="kept")
    application.commit()
    assert rings(sleeper, outside) == ["kept"]
    assert len(jobs_in(outside)) == 1


def test_the_transaction_stays_open_and_usable(application: Application) -> None:
    application.enqueue(JOB)

    assert driver_of(application).info.transaction_status == TransactionStatus.INTRANS
    assert application.execute("SELECT count(*) FROM pgqueue.jobs") == [(1,)]


def test_the_first_statement_on_a_fresh_connection_commits_nothing(
    kind: Kind, dsn: str, outside: psycopg.Connection[Any]
) -> None:
    """Below a Session the driver's connection is idle until its first statement."""
    with kind(dsn) as application:
        assert driver_of(application).info.transaction_status == TransactionStatus.IDLE
        application.enqueue(JOB)
        assert jobs_in(outside) == []
        application.rollback()
        assert jobs_in(outside) == []


def test_the_job_shares_the_transaction_of_the_row_it_is_for(application: Application) -> None:
    application.execute("CREATE TABLE customers (id integer)")
    application.execute("INSERT INTO customers VALUES (1)")
    application.enqueue(JOB)

    assert application.execute(
        "SELECT job.xmin = customer.xmin FROM pgqueue.jobs AS job, customers AS customer"
    ) == [(True,)]


def test_a_savepoint_that_is_rolled_back_takes_its_jobs_with_it(
    application: Application, outside: psycopg.Connection[Any]
) -> None:
    before = application.enqueue(JOB, key="before")
    application.execute("SAVEPOINT here")
    application.enqueue(JOB, key="within")
    application.execute("ROLLBACK TO here")
    after = application.enqueue(JOB, key="within")
    application.commit()

    assert jobs_in(outside) == [before.id, after.id]
    assert not after.duplicate


def test_a_nested_transaction_of_a_session_is_obeyed(
    dsn: str, outside: psycopg.Connection[Any]
) -> None:
    with KINDS["SQLAlchemy Session"](dsn) as application:
        session = application.connection
        with session.begin_nested() as nested:
            enqueue(session, JOB)
            nested.rollback()
        with session.begin_nested():
            kept = enqueue(session, JOB)
        session.commit()

    assert jobs_in(outside) == [kept.id]


def test_with_autocommit_the_job_exists_at_once(
    kind: Kind, dsn: str, outside: psycopg.Connection[Any]
) -> None:
    with kind(dsn, autocommit=True) as application:
        enqueued = application.enqueue(JOB)
        assert jobs_in(outside) == [enqueued.id]


@pytest.mark.parametrize("count", [1, 100])
def test_exactly_one_statement_is_sent(kind: Kind, dsn: str, count: int) -> None:
    if not _may_log_statements(dsn):
        pytest.skip("only a superuser may have the server tell what it executes")
    heard: list[str] = []
    with kind(dsn) as application:
        application.execute("SET log_statement = 'all'")
        application.execute("SET client_min_messages = 'log'")
        driver_of(application).add_notice_handler(
            lambda notice: heard.append(notice.message_primary)
        )
        if count == 1:
            application.enqueue(JOB, key="a key", delay=5)
        else:
            application.enqueue_many([JOB.options(key=str(n % 7)) for n in range(count)])
        statements = [line for line in heard if line.startswith(("execute", "statement"))]

    assert len(statements) == 1
    assert ("pgqueue.enqueue_one" if count == 1 else "pgqueue.enqueue_many") in statements[0]


def _may_log_statements(dsn: str) -> bool:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
    return row == (True,)


# Odd connections


@pytest.mark.parametrize("row_factory", [dict_row, namedtuple_row, scalar_row, kwargs_row(dict)])
@pytest.mark.parametrize("cursor_factory", [psycopg.Cursor, ClientCursor, RawCursor])
def test_the_applications_own_factories_do_not_matter(
    shared_dsn: str, row_factory: Any, cursor_factory: Any
) -> None:
    with psycopg.connect(
        shared_dsn, row_factory=row_factory, cursor_factory=cursor_factory
    ) as connection:
        first, again = enqueue_many(connection, [JOB.options(key="k"), JOB.options(key="k")])
        assert (first.duplicate, again.duplicate, again.id) == (False, True, first.id)
        connection.rollback()


def test_the_applications_own_factories_do_not_matter_async(shared_dsn: str) -> None:
    async def go() -> None:
        async with await psycopg.AsyncConnection.connect(
            shared_dsn, row_factory=dict_row, cursor_factory=AsyncRawCursor
        ) as connection:
            assert (await enqueue_async(connection, JOB)).id > 0
            await connection.rollback()

    asyncio.run(go())


def test_the_applications_own_json_is_never_asked(kind: Kind, shared_dsn: str) -> None:
    def loads(_: object) -> Any:
        raise AssertionError("not yours to read")

    with kind(shared_dsn) as application:
        set_json_loads(loads, driver_of(application))
        assert application.enqueue(JOB, metadata={"a": 1}).id > 0
        application.rollback()


class OwnLists(Dumper):
    """An application whose lists are jsonb."""

    oid = psycopg.postgres.types["jsonb"].oid

    def dump(self, obj: Any) -> bytes:
        return json.dumps(obj).encode()


class OwnNumbers(Loader):
    def load(self, data: object) -> Any:
        raise AssertionError("not yours to read")


class OwnBinaryNumbers(OwnNumbers):
    format = psycopg.pq.Format.BINARY


@pytest.mark.parametrize("count", [1, 2])
def test_the_applications_own_adapters_do_not_matter(
    kind: Kind, shared_dsn: str, count: int
) -> None:
    with kind(shared_dsn) as application:
        driver = driver_of(application)
        for dumped in (list, str, int, bool):
            driver.adapters.register_dumper(dumped, OwnLists)
        for loaded in ("int8", "bool", "text"):
            for loader in (OwnNumbers, OwnBinaryNumbers):
                driver.adapters.register_loader(loaded, loader)
        jobs = [JOB.options(priority=n, timeout=None) for n in range(count)]
        enqueued = application.enqueue_many(jobs)
        assert [(type(result.id), result.duplicate) for result in enqueued] == [
            (int, False)
        ] * count
        application.rollback()


@pytest.mark.parametrize("option", [{"stream_results": True}, {"yield_per": 1}], ids=str)
@pytest.mark.parametrize("autocommit", [False, True])
@pytest.mark.parametrize("name", ["SQLAlchemy Connection", "SQLAlchemy Session"])
def test_an_engine_that_streams_its_results_enqueues_at_once(
    dsn: str, outside: psycopg.Connection[Any], name: str, autocommit: bool, option: dict[str, Any]
) -> None:
    with KINDS[name](dsn, autocommit=autocommit, execution_options=option) as application:
        enqueued = application.enqueue(JOB)
        application.commit()
    assert jobs_in(outside) == [enqueued.id]


def test_the_engines_own_json_is_never_asked(shared_dsn: str) -> None:
    def loads(_: object) -> Any:
        raise AssertionError("not yours to read")

    with KINDS["SQLAlchemy Session"](
        shared_dsn, json_deserializer=loads, json_serializer=loads
    ) as application:
        assert application.enqueue(JOB, metadata={"a": 1}).id > 0
        application.rollback()


@pytest.mark.parametrize("threshold", [0, None])
def test_prepared_statements_may_be_forced_or_forbidden(
    connection: psycopg.Connection[Any], threshold: int | None
) -> None:
    connection.prepare_threshold = threshold
    assert len({enqueue(connection, JOB).id for _ in range(7)}) == 7


def test_pipeline_mode(dsn: str, outside: psycopg.Connection[Any]) -> None:
    with psycopg.connect(dsn) as connection:
        with connection.pipeline():
            connection.execute("CREATE TABLE customers (id integer)")
            first = enqueue(connection, JOB)
            connection.execute("INSERT INTO customers VALUES (1)")
            rest = enqueue_many(connection, [JOB, JOB])
            assert jobs_in(outside) == []
        connection.commit()

    assert jobs_in(outside) == [first.id, rest[0].id, rest[1].id]
    assert outside.execute("SELECT count(*) FROM customers").fetchone() == (1,)


def test_pipeline_mode_async(dsn: str, outside: psycopg.Connection[Any]) -> None:
    async def go() -> int:
        async with await psycopg.AsyncConnection.connect(dsn) as connection:
            async with connection.pipeline():
                await connection.execute("CREATE TABLE customers (id integer)")
                enqueued = await enqueue_async(connection, JOB)
            await connection.commit()
        return enqueued.id

    job_id = asyncio.run(go())
    assert jobs_in(outside) == [job_id]


def test_a_psycopg_transaction_block_is_obeyed(dsn: str, outside: psycopg.Connection[Any]) -> None:
    with psycopg.connect(dsn) as connection:
        with connection.transaction():
            enqueue(connection, JOB)
            raise psycopg.Rollback
        with connection.transaction():
            kept = enqueue(connection, JOB)

    assert jobs_in(outside) == [kept.id]


# Odd sessions


class Base(DeclarativeBase):
    pass


class Customer(Base):
    __tablename__ = "customers"
    id: Mapped[int] = mapped_column(primary_key=True)


def test_a_flushed_row_and_its_job_commit_together(
    dsn: str, outside: psycopg.Connection[Any]
) -> None:
    engine = create_engine(url_of(dsn), poolclass=NullPool)
    Base.metadata.create_all(engine)
    with Session(engine) as session, session.begin():
        session.add(Customer(id=1))
        session.flush()
        enqueue(session, JOB)
    with Session(engine) as session, session.begin() as transaction:
        session.add(Customer(id=2))
        enqueue(session, JOB)
        transaction.rollback()

    assert outside.execute("SELECT id FROM customers").fetchall() == [(1,)]
    assert len(jobs_in(outside)) == 1


@pytest.mark.parametrize("scoped", [False, True])
def test_a_two_phase_session_is_prepared_though_a_worker_sleeps(
    dsn: str, outside: psycopg.Connection[Any], sleeper: psycopg.Connection[Any], scoped: bool
) -> None:
    engine = create_engine(url_of(dsn), poolclass=NullPool)
    factory = sessionmaker(engine, twophase=True)
    session: Any = scoped_session(factory) if scoped else factory()
    enqueued = enqueue(session, JOB)
    enqueue_many(session, [JOB])
    (session() if scoped else session).prepare()
    assert jobs_in(outside) == []
    session.commit()
    session.close()

    assert jobs_in(outside)[0] == enqueued.id
    assert rings(sleeper, outside) == []


def test_a_two_phase_async_session_is_prepared_though_a_worker_sleeps(
    dsn: str, outside: psycopg.Connection[Any], sleeper: psycopg.Connection[Any]
) -> None:
    async def go() -> int:
        engine = create_async_engine(url_of(dsn), poolclass=NullPool)
        async with AsyncSession(engine, twophase=True) as session:
            enqueued = await enqueue_async(session, JOB)
            await session.commit()
        await engine.dispose()
        return enqueued.id

    job_id = asyncio.run(go())
    assert jobs_in(outside) == [job_id]


def test_a_two_phase_connection_is_prepared_though_a_worker_sleeps(
    dsn: str, outside: psycopg.Connection[Any], sleeper: psycopg.Connection[Any]
) -> None:
    engine = create_engine(url_of(dsn), poolclass=NullPool)
    with engine.connect() as connection, connection.begin_twophase() as transaction:
        enqueue(connection, JOB)
        enqueue_many(connection, [JOB])
        with Session(connection) as session:
            enqueue(session, JOB)
        transaction.prepare()
        assert jobs_in(outside) == []
        transaction.commit()

    assert len(jobs_in(outside)) == 3
    assert rings(sleeper, outside) == []


def test_a_two_phase_async_connection_is_prepared_though_a_worker_sleeps(
    dsn: str, outside: psycopg.Connection[Any], sleeper: psycopg.Connection[Any]
) -> None:
    async def go() -> None:
        engine = create_async_engine(url_of(dsn), poolclass=NullPool)
        async with engine.connect() as connection:
            transaction = await connection.run_sync(lambda plain: plain.begin_twophase())
            await enqueue_async(connection, JOB)
            async with AsyncSession(connection) as session:
                await enqueue_async(session, JOB)
            await connection.run_sync(lambda _: (transaction.prepare(), transaction.commit()))
        await engine.dispose()

    asyncio.run(go())
    assert len(jobs_in(outside)) == 2
    assert rings(sleeper, outside) == []


def test_a_psycopg_transaction_of_two_phases_is_prepared_though_a_worker_sleeps(
    dsn: str, outside: psycopg.Connection[Any], sleeper: psycopg.Connection[Any]
) -> None:
    with psycopg.connect(dsn) as connection:
        connection.tpc_begin("in two phases")
        enqueue(connection, JOB)
        connection.tpc_prepare()
        assert jobs_in(outside) == []
        connection.tpc_commit()
        assert rings(sleeper, outside) == []
        enqueue(connection, JOB, queue="one phase")
        connection.commit()

    assert rings(sleeper, outside) == ["one phase"]
    assert len(jobs_in(outside)) == 2


def test_a_psycopg_async_transaction_of_two_phases_is_prepared_though_a_worker_sleeps(
    dsn: str, outside: psycopg.Connection[Any], sleeper: psycopg.Connection[Any]
) -> None:
    async def go() -> None:
        async with await psycopg.AsyncConnection.connect(dsn) as connection:
            await connection.tpc_begin("in two phases, async")
            await enqueue_async(connection, JOB)
            await connection.tpc_prepare()
            await connection.tpc_commit()

    asyncio.run(go())
    assert len(jobs_in(outside)) == 1
    assert rings(sleeper, outside) == []


def test_notify_false_rings_no_bell(
    dsn: str, outside: psycopg.Connection[Any], sleeper: psycopg.Connection[Any]
) -> None:
    enqueue(outside, JOB, notify=False)
    enqueue_many(outside, [JOB], notify=False)
    enqueue(outside, JOB, delay=60)
    assert rings(sleeper, outside) == []
    enqueue(outside, JOB, queue="mail")
    assert rings(sleeper, outside) == ["mail"]


def test_nobody_asleep_is_not_notified_and_no_lock_left(
    outside: psycopg.Connection[Any],
) -> None:
    outside.execute("LISTEN pgqueue")
    enqueue(outside, JOB)
    assert rings(outside, outside) == []
    locks = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
    assert outside.execute(locks).fetchall() == []


def test_bind_arguments_choose_the_sessions_engine(dsn: str) -> None:
    engine = create_engine(url_of(dsn), poolclass=NullPool)
    with Session(binds={Customer: engine}) as session:
        with pytest.raises(UnboundExecutionError):
            enqueue(session, JOB)
        assert enqueue(session, JOB, bind_arguments={"mapper": Customer}).id > 0
        assert len(enqueue_many(session, [JOB], bind_arguments={"mapper": Customer})) == 1


def test_bind_arguments_choose_the_async_sessions_engine(dsn: str) -> None:
    async def go() -> None:
        engine = create_async_engine(url_of(dsn), poolclass=NullPool)
        async with AsyncSession(binds={Customer: engine}) as session:
            by_mapper = {"mapper": Customer}
            assert (await enqueue_async(session, JOB, bind_arguments=by_mapper)).id > 0
            assert len(await enqueue_many_async(session, [JOB], bind_arguments=by_mapper)) == 1
        await engine.dispose()

    asyncio.run(go())


def test_a_scoped_session_will_do(dsn: str, outside: psycopg.Connection[Any]) -> None:
    session = scoped_session(sessionmaker(create_engine(url_of(dsn), poolclass=NullPool)))
    enqueued = enqueue(session, JOB)
    session.commit()
    session.remove()

    assert jobs_in(outside) == [enqueued.id]


def test_an_async_scoped_session_will_do(dsn: str, outside: psycopg.Connection[Any]) -> None:
    async def go() -> int:
        engine = create_async_engine(url_of(dsn), poolclass=NullPool)
        session = async_scoped_session(async_sessionmaker(engine), scopefunc=asyncio.current_task)
        enqueued = await enqueue_async(session, JOB)
        await session.commit()
        await session.remove()
        await engine.dispose()
        return enqueued.id

    job_id = asyncio.run(go())
    assert jobs_in(outside) == [job_id]


def test_run_sync_code_of_an_async_session_uses_the_plain_function(
    dsn: str, outside: psycopg.Connection[Any]
) -> None:
    async def go() -> int:
        engine = create_async_engine(url_of(dsn), poolclass=NullPool)
        async with AsyncSession(engine) as session:
            enqueued = await session.run_sync(lambda plain: enqueue(plain, JOB))
            await session.commit()
        await engine.dispose()
        return enqueued.id

    job_id = asyncio.run(go())
    assert jobs_in(outside) == [job_id]


# What cannot be enqueued on


def test_a_closed_connection_is_refused(shared_dsn: str) -> None:
    for name in ("psycopg Connection", "SQLAlchemy Connection"):
        with KINDS[name](shared_dsn) as application:
            application.connection.close()
            with pytest.raises(UnsupportedConnection, match="closed; open a new one"):
                application.enqueue(JOB)
    for name in ("psycopg AsyncConnection", "SQLAlchemy AsyncConnection"):
        with KINDS[name](shared_dsn) as application:
            application.do(application.connection.close())
            with pytest.raises(UnsupportedConnection, match="closed; open a new one"):
                application.enqueue(JOB)


def test_a_failed_transaction_is_refused_until_it_is_rolled_back(
    kind: Kind, shared_dsn: str
) -> None:
    with kind(shared_dsn) as application:
        with pytest.raises((psycopg.Error, sqlalchemy.exc.DBAPIError)):
            application.execute("SELECT 1 / 0")
        with pytest.raises(UnsupportedConnection, match="roll back"):
            application.enqueue(JOB)
        application.rollback()
        assert application.enqueue(JOB).id > 0
        application.rollback()


def test_a_session_whose_flush_failed_is_refused_until_it_is_rolled_back(dsn: str) -> None:
    engine = create_engine(url_of(dsn), poolclass=NullPool)
    with Session(engine) as session:
        session.add(Customer(id=1))
        with pytest.raises(sqlalchemy.exc.ProgrammingError):
            session.flush()
        with pytest.raises(PendingRollbackError):
            session.connection()
        with pytest.raises(UnsupportedConnection, match="roll back"):
            enqueue(session, JOB)


def test_an_invalidated_connection_is_refused_until_it_is_rolled_back(shared_dsn: str) -> None:
    with KINDS["SQLAlchemy Connection"](shared_dsn) as application:
        application.execute("SELECT 1")
        application.connection.invalidate()
        with pytest.raises(UnsupportedConnection, match="roll back"):
            application.enqueue(JOB)
        application.rollback()
        assert application.enqueue(JOB).id > 0
        application.rollback()


def test_text_that_the_client_encoding_cannot_hold_is_said(kind: Kind, shared_dsn: str) -> None:
    with kind(shared_dsn) as application:
        application.execute("SET client_encoding = 'LATIN1'")
        for enqueue_it in (
            lambda: application.enqueue(JOB, actor="\N{SNOWMAN}"),
            lambda: application.enqueue_many([JOB, NewJob("greet", '{"name": "\N{SNOWMAN}"}')]),
        ):
            with pytest.raises(UnsupportedConnection, match=r"client_encoding \(.+1\) has no"):
                enqueue_it()
        assert application.enqueue(JOB, actor="J\xfcrgen").id > 0
        application.rollback()


# A schema that is not there


def test_a_schema_that_is_missing_or_older_is_said_in_one_sentence(
    kind: Kind, empty_dsn: str, outside_of_empty: psycopg.Connection[Any]
) -> None:
    sentence = "schema in this database is missing or older than this code, .*run: pgqueue migrate"
    with kind(empty_dsn) as application:
        with pytest.raises(SchemaMismatch, match=sentence):
            application.enqueue(JOB)
        application.rollback()
        outside_of_empty.execute("CREATE SCHEMA pgqueue")
        outside_of_empty.execute(
            "CREATE FUNCTION pgqueue.enqueue_one(text) RETURNS bigint RETURN 1"
        )
        for attempt in (
            lambda: application.enqueue(JOB),
            lambda: application.enqueue_many([JOB] * 2),
        ):
            with pytest.raises(SchemaMismatch, match=sentence):
                attempt()
            application.rollback()


def test_a_function_that_the_applications_own_trigger_misses_is_not_ours(
    application: Application,
) -> None:
    application.execute(
        """
        CREATE FUNCTION own() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN PERFORM no_such_function(); RETURN NEW; END';
        CREATE TRIGGER own BEFORE INSERT ON pgqueue.jobs FOR EACH ROW EXECUTE FUNCTION own()
        """
    )
    with pytest.raises((errors.UndefinedFunction, sqlalchemy.exc.ProgrammingError)) as caught:
        application.enqueue(JOB)
    assert "no_such_function" in str(caught.value)


def test_async_connections_are_told_the_async_function(shared_dsn: str) -> None:
    for name in KINDS:
        with KINDS[name](shared_dsn) as application:
            if "Async" in name:
                with pytest.raises(UnsupportedConnection, match="ends in _async"):
                    enqueue(application.connection, JOB)
                with pytest.raises(UnsupportedConnection, match="ends in _async"):
                    enqueue_many(application.connection, [JOB])
            else:
                with pytest.raises(UnsupportedConnection, match="does not end in _async"):
                    asyncio.run(enqueue_async(application.connection, JOB))
                with pytest.raises(UnsupportedConnection, match="does not end in _async"):
                    asyncio.run(enqueue_many_async(application.connection, [JOB]))


class MyOwnSession(Session):
    pass


class MyOwnAsyncSession(AsyncSession):
    pass


def test_subclasses_are_told_the_right_function_too(shared_dsn: str) -> None:
    with pytest.raises(UnsupportedConnection, match="ends in _async"):
        enqueue(MyOwnAsyncSession(), JOB)
    with pytest.raises(UnsupportedConnection, match="does not end in _async"):
        asyncio.run(enqueue_async(MyOwnSession(), JOB))


def test_what_has_no_transaction_is_told_to_give_one(shared_dsn: str) -> None:
    engine = create_engine(url_of(shared_dsn))
    async_engine = create_async_engine(url_of(shared_dsn))
    for given in (engine, sessionmaker(engine), async_engine, async_sessionmaker(async_engine)):
        with pytest.raises(UnsupportedConnection, match="take a connection or a session from it"):
            enqueue(given, JOB)
        with pytest.raises(UnsupportedConnection, match="take a connection or a session from it"):
            asyncio.run(enqueue_async(given, JOB))


def test_pools_are_told_to_give_a_connection(shared_dsn: str) -> None:
    pools = pytest.importorskip("psycopg_pool")
    with pytest.raises(UnsupportedConnection, match="take a connection or a session from it"):
        enqueue(pools.ConnectionPool(shared_dsn, open=False), JOB)
    with pytest.raises(UnsupportedConnection, match="take a connection or a session from it"):
        asyncio.run(enqueue_async(pools.AsyncConnectionPool(shared_dsn, open=False), JOB))


def test_other_drivers_are_told_the_sql_function() -> None:
    with sqlite3.connect(":memory:") as plain:
        with pytest.raises(UnsupportedConnection, match=r"call the SQL function pgqueue\.enqueue"):
            enqueue(plain, JOB)
        with pytest.raises(UnsupportedConnection, match=r"call the SQL function pgqueue\.enqueue"):
            asyncio.run(enqueue_async(plain, JOB))
    plain.close()
    engine = create_engine("sqlite://")
    with engine.connect() as connection, Session(engine) as session:
        for given in (connection, session):
            with pytest.raises(
                UnsupportedConnection, match=r"sqlite\+pysqlite.*psycopg driver.*pgqueue\.enqueue"
            ):
                enqueue(given, JOB)
    engine.dispose()


@pytest.mark.parametrize("given", [None, "postgresql://", object()])
def test_anything_else_is_told_what_to_give(given: object) -> None:
    with pytest.raises(UnsupportedConnection, match="give a psycopg Connection, or a SQLAlchemy"):
        enqueue(given, JOB)
    with pytest.raises(UnsupportedConnection, match="give a psycopg AsyncConnection, or"):
        asyncio.run(enqueue_async(given, JOB))


# Many


def test_ten_thousand_jobs_with_options_of_their_own(connection: psycopg.Connection[Any]) -> None:
    many = [
        NewJob("count", json.dumps({"n": n})).options(
            queue=f"q{n % 3}",
            priority=n % 100,
            delay=n % 5,
            max_attempts=1 + n % 9,
            timeout=None if n % 2 else 7,
            keep=timedelta(days=n % 4),
            key=f"key {n % 9_000}",
            actor=str(n) if n % 2 else None,
            metadata={"n": n} if n % 3 else None,
        )
        for n in range(10_000)
    ]
    enqueued = enqueue_many(connection, many)

    assert len(enqueued) == 10_000
    first = [result.id for result in enqueued[:9_000]]
    assert first == sorted(first)
    assert len(set(first)) == 9_000
    assert not any(result.duplicate for result in enqueued[:9_000])
    assert [(r.id, r.duplicate, r.conflict) for r in enqueued[9_000:]] == [
        (job_id, True, True) for job_id in first[:1_000]
    ]
    rows = connection.execute(
        """
        SELECT (args->>'n')::int, queue, priority,
            extract(epoch FROM run_at - created_at)::int, max_attempts,
            extract(epoch FROM timeout)::int, extract(day FROM justify_hours(keep))::int,
            key, actor, metadata::text, state
        FROM pgqueue.jobs ORDER BY id
        """
    ).fetchall()
    assert rows == [
        (
            n,
            f"q{n % 3}",
            n % 100,
            n % 5,
            1 + n % 9,
            None if n % 2 else 7,
            n % 4,
            f"key {n}",
            str(n) if n % 2 else None,
            f'{{"n": {n}}}' if n % 3 else None,
            "scheduled" if n % 5 else "available",
        )
        for n in range(9_000)
    ]


def test_ten_thousand_keys_stay_quick_however_often(connection: psycopg.Connection[Any]) -> None:
    """From its sixth call on a function may get a plan that knows nothing of the number of jobs."""
    connection.execute("SET LOCAL statement_timeout = '10s'")
    for _ in range(7):
        enqueue(connection, JOB, key="one")
    for turn in range(2):
        many = [JOB.options(key=f"{turn}-{n}") for n in range(10_000)]
        assert len({result.id for result in enqueue_many(connection, many)}) == 10_000


def test_no_jobs_are_no_statement(connection: psycopg.Connection[Any]) -> None:
    assert enqueue_many(connection, []) == []
    assert connection.info.transaction_status == TransactionStatus.IDLE


def test_jobs_may_come_from_a_generator(connection: psycopg.Connection[Any]) -> None:
    assert len(enqueue_many(connection, (JOB for _ in range(3)))) == 3


def test_one_wrong_job_of_many_is_refused_before_anything_is_sent(
    connection: psycopg.Connection[Any],
) -> None:
    with pytest.raises(InvalidOption, match="priority"):
        enqueue_many(connection, [JOB, JOB._replace(priority=-1)])
    assert connection.info.transaction_status == TransactionStatus.IDLE


def test_many_queues_are_rung_once_each(
    outside: psycopg.Connection[Any], sleeper: psycopg.Connection[Any]
) -> None:
    enqueue_many(outside, [JOB.options(queue=f"q{n % 3}") for n in range(30)])
    assert sorted(rings(sleeper, outside)) == ["q0", "q1", "q2"]


# Options


def test_a_bare_job_has_the_documented_defaults(connection: psycopg.Connection[Any]) -> None:
    row = job_row(connection, enqueue(connection, JOB).id)

    assert (row.queue, row.priority, row.state) == ("default", 100, "available")
    assert (row.max_attempts, row.max_crashes) == (5, 3)
    assert (row.timeout, row.keep) == (timedelta(seconds=60), timedelta(days=7))
    assert (row.attempt, row.failures, row.crashes) == (0, 0, 0)
    assert (row.key, row.actor, row.metadata, row.on_dead_task) == (None, None, None, None)
    assert (row.expires_at, row.run_at) == (None, row.created_at)
    assert row.args == {"name": "Ada"}


OPTIONS = {
    "priority": (1, 2, 3, 100),
    "max_attempts": (11, 12, 13, 5),
    "max_crashes": (21, 22, 23, 3),
    "timeout": (
        timedelta(seconds=31),
        timedelta(seconds=32),
        timedelta(seconds=33),
        timedelta(minutes=1),
    ),
    "keep": (timedelta(days=1), timedelta(days=2), timedelta(days=3), timedelta(days=7)),
}


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("by_sql", [False, True], ids=["Python", "SQL"])
def test_the_call_wins_over_the_task_over_the_queue_over_the_default(
    connection: psycopg.Connection[Any], option: str, by_sql: bool
) -> None:
    by_call, by_task, by_queue, default = OPTIONS[option]
    tasks = Tasks()
    said: dict[str, Any] = {option: by_task}
    declared = {
        "said": tasks.task("said", queue="set", **said)(lambda: None),
        "silent": tasks.task("silent")(lambda: None),
    }
    run(connection, sync_tasks(task.defaults for task in tasks))
    column, value = option, by_queue
    if option == "timeout":
        column, value = "timeout_ms", 33_000
    connection.execute(
        psycopg.sql.SQL("INSERT INTO pgqueue.queues (name, {}) VALUES ('set', %s)").format(
            psycopg.sql.Identifier(column)
        ),
        [value],
    )

    def found(task: str, **options: Any) -> Any:
        if by_sql:
            named = psycopg.sql.SQL(", ").join(
                psycopg.sql.SQL("{} => {}").format(psycopg.sql.Identifier(k), v)
                for k, v in options.items()
            )
            statement = psycopg.sql.SQL("SELECT pgqueue.enqueue({}, {})").format(task, named)
            row = connection.execute(statement).fetchone()
            assert row
            job_id = row[0]
        else:
            job_id = enqueue(connection, declared[task].job(), **options).id
        return getattr(job_row(connection, job_id), option)

    assert found("said", queue="set", **{option: by_call}) == by_call
    assert found("said", queue="set") == by_task
    assert found("silent", queue="set") == by_queue
    assert found("silent", queue="other") == default


def test_the_queue_is_the_calls_then_the_tasks_then_default(
    connection: psycopg.Connection[Any],
) -> None:
    tasks = Tasks()
    mail = tasks.task("mail", queue="email")(lambda: None)
    assert job_row(connection, enqueue(connection, mail.job()).id).queue == "email"
    assert job_row(connection, enqueue(connection, mail.job(), queue="fast").id).queue == "fast"
    assert job_row(connection, enqueue(connection, JOB).id).queue == "default"


def test_no_timeout_must_be_said_and_wins(connection: psycopg.Connection[Any]) -> None:
    tasks = Tasks()
    endless = tasks.task("endless", timeout=None)(lambda: None)
    short = tasks.task("short", timeout=5)(lambda: None)
    run(connection, sync_tasks(task.defaults for task in tasks))

    assert job_row(connection, enqueue(connection, endless.job()).id).timeout is None
    assert job_row(connection, enqueue(connection, NewJob("endless")).id).timeout is None
    assert job_row(connection, enqueue(connection, short.job(), timeout=None).id).timeout is None
    assert job_row(connection, enqueue(connection, endless.job(), timeout=3).id).timeout == (
        timedelta(seconds=3)
    )


@pytest.mark.parametrize("delay", [5, 5.0, timedelta(seconds=5)])
def test_a_delay_is_counted_by_the_databases_clock(
    connection: psycopg.Connection[Any], delay: Any
) -> None:
    row = job_row(connection, enqueue(connection, JOB, delay=delay).id)
    assert row.run_at - row.created_at == timedelta(seconds=5)
    assert row.state == "scheduled"


def test_a_delay_is_never_cut_short(connection: psycopg.Connection[Any]) -> None:
    row = job_row(connection, enqueue(connection, JOB, delay=0.0001).id)
    assert row.run_at - row.created_at == timedelta(milliseconds=1)
    assert job_row(connection, enqueue(connection, JOB, delay=0).id).state == "available"


def test_the_delay_begins_at_the_enqueue_not_at_the_transaction(
    connection: psycopg.Connection[Any],
) -> None:
    connection.execute("SELECT pg_sleep(0.05)")
    row = job_row(connection, enqueue(connection, JOB).id)
    begun = connection.execute("SELECT now()").fetchone()
    assert begun
    assert row.created_at - begun[0] >= timedelta(seconds=0.05)


def test_a_job_runs_at_a_moment_of_any_zone(connection: psycopg.Connection[Any]) -> None:
    tokyo = datetime(2199, 1, 1, 9, tzinfo=timezone(timedelta(hours=9)))
    row = job_row(connection, enqueue(connection, JOB, run_at=tokyo).id)
    assert row.run_at == datetime(2199, 1, 1, tzinfo=UTC)
    assert row.state == "scheduled"
    past = datetime(2001, 1, 1, tzinfo=UTC)
    row = job_row(connection, enqueue(connection, JOB, run_at=past).id)
    assert (row.run_at, row.state) == (past, "available")


@pytest.mark.parametrize("moment", ["infinity", "-infinity", "4713-01-01 BC", "294000-01-01"])
def test_sql_cannot_make_a_job_that_python_cannot_read(
    connection: psycopg.Connection[Any], moment: str
) -> None:
    """A claim returns run_at: one that no datetime can hold would stop every worker."""
    enqueued = connection.execute("SELECT pgqueue.enqueue('x', run_at => %s)", [moment]).fetchone()
    assert enqueued
    assert isinstance(job_row(connection, enqueued[0]).run_at, datetime)


def test_expiry_is_a_duration_from_the_enqueue_or_a_moment(
    connection: psycopg.Connection[Any],
) -> None:
    row = job_row(connection, enqueue(connection, JOB, expires=90, delay=30).id)
    assert row.expires_at - row.created_at == timedelta(seconds=90)
    row = job_row(connection, enqueue(connection, JOB, expires=timedelta(hours=1)).id)
    assert row.expires_at - row.created_at == timedelta(hours=1)
    moment = datetime(2199, 1, 1, tzinfo=UTC)
    assert job_row(connection, enqueue(connection, JOB, expires=moment).id).expires_at == moment


def test_the_rest_is_kept_as_it_was_said(connection: psycopg.Connection[Any]) -> None:
    said: dict[str, Any] = {
        "key": "k",
        "actor": "user 7",
        "metadata": {"träce": [1, None, "\u2028"]},
        "on_dead_task": "mourn",
        "max_crashes": 7,
    }
    row = job_row(connection, enqueue(connection, JOB, **said).id)
    assert {name: getattr(row, name) for name in said} == said


NAIVE = datetime(2030, 1, 1)


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("run_at", NAIVE),
        ("run_at", "2030-01-01"),
        ("expires", NAIVE),
        ("expires", -1),
        ("delay", -1),
        ("delay", float("nan")),
        ("delay", "5"),
        ("priority", -1),
        ("priority", 32_768),
        ("priority", 1.5),
        ("priority", True),
        ("max_attempts", 0),
        ("max_attempts", 1001),
        ("max_crashes", 0),
        ("timeout", 0),
        ("timeout", -5),
        ("keep", -1),
        ("key", ""),
        ("key", "x" * 501),
        ("key", "a\0b"),
        ("key", "a\ud800b"),
        ("key", 5),
        ("key_ttl", -1),
        ("queue", ""),
        ("queue", "x" * 101),
        ("actor", 5),
        ("actor", "a\ud800b"),
        ("on_dead_task", 5),
        ("on_dead_task", "x" * 201),
        ("metadata", {"a": object()}),
        ("metadata", {"a": float("nan")}),
        ("metadata", {"a": "a\ud800b"}),
        ("metadata", {"a": "a\0b"}),
        ("metadata", 5),
        ("metadata", [("a", 1)]),
        ("metadata", {1: "a"}),
        ("metadata", {"a": [{None: 1}]}),
        ("metadata", {"a": "x" * 2**20}),
        ("metadata", {"a": nested(200)}),
        ("metadata", {"a": nested(100_000)}),
        ("key_ttl", 60),
        ("colour", "red"),
    ],
)
def test_a_wrong_option_is_named_before_anything_is_sent(
    connection: psycopg.Connection[Any], option: str, value: Any
) -> None:
    with pytest.raises(InvalidOption) as caught:
        enqueue(connection, JOB, **{option: value})
    assert caught.value.option == option
    assert str(caught.value).startswith(f"{option}: ")
    assert connection.info.transaction_status == TransactionStatus.IDLE


def test_metadata_comes_back_as_it_was(connection: psycopg.Connection[Any]) -> None:
    for metadata in ({}, {"a": [{"b": None}], "c": "\\u0000"}, {"a": nested(198)}):
        row = job_row(connection, enqueue(connection, JOB, metadata=metadata).id)
        assert row.metadata == metadata


@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
@pytest.mark.parametrize(
    ("job", "option"),
    [
        (NewJob(""), "task"),
        (NewJob("x" * 201), "task"),
        (NewJob("a\0b"), "task"),
        (NewJob("a\ud800b"), "task"),
        (NewJob(None), "task"),
        (NewJob("t", "garbage"), "args"),
        (NewJob("t", "[]"), "args"),
        (NewJob("t", {"a": 1}), "args"),
        (NewJob("t", None), "args"),
    ],
    ids=str,
)
def test_a_job_that_no_task_made_is_checked_as_well(
    connection: psycopg.Connection[Any], job: NewJob, option: str, many: bool
) -> None:
    with pytest.raises(InvalidOption, match=f"^{option}: must be "):
        enqueue_many(connection, [JOB, job]) if many else enqueue(connection, job)
    assert connection.info.transaction_status == TransactionStatus.IDLE


@pytest.mark.parametrize("options", [{}, {"delay": 5}])
def test_a_task_is_no_job(connection: psycopg.Connection[Any], options: dict[str, Any]) -> None:
    task = Tasks().task("greet")(lambda: None)
    for given, name in ((task, "Task"), ("greet", "str"), (None, "NoneType")):
        wrong: Any = given
        with pytest.raises(TypeError, match=rf"^give task\.job\(\.\.\.\), not a {name}$"):
            enqueue(connection, wrong, **options)
        with pytest.raises(TypeError, match=rf"^give task\.job\(\.\.\.\), not a {name}$"):
            enqueue_many(connection, [JOB, wrong])


LATER = datetime(2199, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "options",
    [
        {"delay": 60, "expires": 60},
        {"delay": timedelta(minutes=2), "expires": 60},
        {"run_at": LATER, "expires": LATER},
    ],
)
def test_a_job_that_could_never_start_is_refused(
    connection: psycopg.Connection[Any], options: dict[str, Any]
) -> None:
    with pytest.raises(
        InvalidOption, match=r"^expires: the job would be dead before it may start$"
    ):
        enqueue(connection, JOB, **options)


def test_the_keywords_that_mypy_knows_are_the_options(connection: psycopg.Connection[Any]) -> None:
    assert tuple(JobOptions.__annotations__) == NewJob._fields[2:-1]
    assert get_type_hints(JobOptions) == {
        name: hint for name, hint in get_type_hints(NewJob).items() if name in NewJob._fields[2:-1]
    }


def test_run_at_and_delay_exclude_each_other(connection: psycopg.Connection[Any]) -> None:
    with pytest.raises(InvalidOption, match="run_at: cannot be given together with delay"):
        enqueue(connection, JOB, run_at=datetime(2199, 1, 1, tzinfo=UTC), delay=5)


def test_on_conflict_is_return_or_raise(connection: psycopg.Connection[Any]) -> None:
    with pytest.raises(ValueError, match="'return' or 'raise', not 'ignore'"):
        enqueue(connection, JOB, on_conflict="ignore")


# Arguments


def test_arguments_are_limited_to_a_mebibyte(connection: psycopg.Connection[Any]) -> None:
    tasks = Tasks()

    @tasks.task("store")
    def store(text: str) -> None: ...

    with pytest.raises(InvalidPayload, match=r"args: .*1048576 allowed"):
        store.job("x" * 1024 * 1024)
    with pytest.warns(LargePayload, match="args: "):
        large = store.job("x" * 1_000_000)
    assert enqueue(connection, large).id > 0
    with pytest.warns(LargePayload):
        store.job("x" * 64 * 1024)
    store.job("x" * 60 * 1024)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        ("a\0b", "NUL"),
        ("a\ud800b", "surrogate"),
        (object(), "object"),
        ({1, 2}, "set"),
    ],
)
def test_an_argument_that_cannot_be_stored_is_named(value: object, problem: str) -> None:
    tasks = Tasks()

    @tasks.task("store")
    def store(user: dict[str, object]) -> None: ...

    with pytest.raises(InvalidPayload, match=rf"(?is)^args\.user\.tags\[1\]: .*{problem}"):
        store.job({"tags": ["fine", value]})
