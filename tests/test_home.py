"""Whose jobs are these: a copy of a database does not run its original's, until a person says so;
and what a role must be allowed that enqueues."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import errors, sql

from pgqueue import ForeignDatabase, NewJob, enqueue, enqueue_many
from pgqueue.embedded.account import server_account
from pgqueue.embedded.binaries import find_binaries
from pgqueue.storage.drivers import run
from pgqueue.storage.schema import require_home
from pgqueue.storage.verbs import adopt
from pgqueue.testing.databases import Databases, name_of

README = Path(__file__).parents[1] / "README.md"


def is_home(dsn: str) -> bool:
    with psycopg.connect(dsn) as connection:
        try:
            run(connection, require_home())
        except ForeignDatabase:
            return False
        return True


def adopt_in(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        run(connection, adopt())


def test_a_copied_database_is_another_one_until_it_is_adopted(server: Databases, dsn: str) -> None:
    copy = server.create(name_of(dsn))
    assert is_home(dsn)
    assert not is_home(copy)
    adopt_in(copy)
    assert is_home(copy)
    server.drop(copy)


def test_a_restored_dump_is_another_database_with_the_same_jobs(dsn: str, empty_dsn: str) -> None:
    programs = find_binaries(server_account()).directory
    if not (programs / "pg_dump").exists():
        pytest.skip("PostgreSQL's own programs to dump and restore are not installed")
    with psycopg.connect(dsn) as connection:
        job_id = enqueue(connection, NewJob("greet"), key="once").id
    dump = subprocess.run([programs / "pg_dump", dsn], capture_output=True, check=True).stdout
    subprocess.run(
        [programs / "psql", "-qX", "-v", "ON_ERROR_STOP=1", empty_dsn],
        input=dump, stdout=subprocess.DEVNULL, check=True,
    )  # fmt: skip
    assert not is_home(empty_dsn)
    adopt_in(empty_dsn)
    assert is_home(empty_dsn)
    with psycopg.connect(empty_dsn) as connection:
        assert enqueue(connection, NewJob("greet"), key="once").id == job_id
        assert enqueue(connection, NewJob("greet")).id > job_id


def test_a_copy_that_cannot_be_recognised_can_be_told(dsn: str) -> None:
    """As the README advises for a copy of the data directory."""
    assert "DELETE FROM pgqueue.home" in README.read_text()
    with psycopg.connect(dsn) as connection:
        connection.execute("DELETE FROM pgqueue.home")
    assert not is_home(dsn)
    adopt_in(dsn)
    assert is_home(dsn)


@pytest.fixture
def enqueuer(connection: psycopg.Connection) -> Iterator[psycopg.Connection]:
    """A role that was given what the README lists, and nothing else."""
    grants = re.findall(r"^GRANT .* TO shop;$", README.read_text(), re.MULTILINE)
    assert grants
    role = sql.Identifier(f"pgqueue_test_{uuid4().hex[:8]}")
    connection.execute(sql.SQL("CREATE ROLE {}").format(role))
    for grant in grants:
        connection.execute(sql.SQL(grant.replace("TO shop", "TO {}")).format(role))
    connection.execute(sql.SQL("SET LOCAL ROLE {}").format(role))
    yield connection
    connection.rollback()


def test_a_role_may_enqueue_with_the_documented_grants(enqueuer: psycopg.Connection) -> None:
    job = NewJob("greet", key="once", delay=5, on_dead_task="mourn")
    assert not enqueue(enqueuer, job).duplicate
    assert enqueue(enqueuer, job).duplicate
    assert [r.duplicate for r in enqueue_many(enqueuer, [job, NewJob("greet")])] == [True, False]
    assert enqueuer.execute("SELECT pgqueue.enqueue('greet')").fetchone()


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT args FROM pgqueue.jobs",
        "DELETE FROM pgqueue.jobs",
        "UPDATE pgqueue.jobs SET priority = 0",
        "SELECT pgqueue.cancel(1)",
        "SELECT pgqueue.pause('default')",
        "SELECT pgqueue.adopt()",
        "INSERT INTO pgqueue.tasks (name, seen_at) VALUES ('x', now())",
    ],
)
def test_a_role_that_may_enqueue_may_do_nothing_else(
    enqueuer: psycopg.Connection, statement: str
) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        enqueuer.execute(statement)
