"""Fixtures for pytest, installed with the package.

``pgqueue_connection``  a psycopg connection to a migrated database, in a transaction that is
                        rolled back
``pgqueue_dsn``         a migrated database of the test's own, for what commits: workers, waits
``pgqueue_worker``      starts workers on it: ``pgqueue_worker(tasks)`` in this process, and
                        ``pgqueue_worker("myapp.jobs:tasks", dies="after claim")`` in one of its own
``pgqueue_server``      the dsn of the server that they are on: PGQUEUE_TEST_DSN, whose role must be
                        allowed to create databases, or else a throw-away PostgreSQL
``pgqueue_prepare``     override it (scope session) to return a function of a dsn that makes the
                        application's own tables
"""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import psycopg
import pytest

from pgqueue.embedded import EmbeddedPostgres
from pgqueue.failpoints import Point
from pgqueue.tasks import Tasks
from pgqueue.testing.databases import Databases
from pgqueue.testing.workers import WorkerProcess, WorkerThread

# Fast, because nobody misses a test's data.
_SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@pytest.fixture(scope="session")
def pgqueue_server() -> Iterator[str]:
    given = os.environ.get("PGQUEUE_TEST_DSN")
    if given:
        yield given
        return
    with EmbeddedPostgres(settings=_SETTINGS) as server:
        yield server.dsn


@pytest.fixture(scope="session")
def pgqueue_prepare() -> Callable[[str], object] | None:
    return None


@pytest.fixture(scope="session")
def pgqueue_databases(
    pgqueue_server: str, pgqueue_prepare: Callable[[str], object] | None
) -> Iterator[Databases]:
    databases = Databases(pgqueue_server, pgqueue_prepare)
    yield databases
    databases.drop_template()


@pytest.fixture(scope="session")
def pgqueue_shared_dsn(pgqueue_databases: Databases) -> Iterator[str]:
    """The database of the tests that commit nothing."""
    dsn = pgqueue_databases.create_migrated()
    yield dsn
    pgqueue_databases.drop(dsn)


@pytest.fixture
def pgqueue_dsn(pgqueue_databases: Databases) -> Iterator[str]:
    dsn = pgqueue_databases.create_migrated()
    yield dsn
    pgqueue_databases.drop(dsn)


@pytest.fixture
def pgqueue_connection(pgqueue_shared_dsn: str) -> Iterator[psycopg.Connection[Any]]:
    connection = psycopg.connect(pgqueue_shared_dsn)
    yield connection
    with suppress(psycopg.OperationalError):  # the test has broken it
        connection.rollback()  # a close alone leaves the locks to the next test, for a moment
    connection.close()


@pytest.fixture
def pgqueue_worker(pgqueue_dsn: str) -> Iterator[Callable[..., WorkerProcess | WorkerThread]]:
    workers: list[WorkerProcess | WorkerThread] = []

    def start(
        tasks: Tasks | str, *arguments: str, dies: Point | None = None, **settings: Any
    ) -> WorkerProcess | WorkerThread:
        worker: WorkerProcess | WorkerThread
        if isinstance(tasks, str):
            worker = WorkerProcess(tasks, pgqueue_dsn, *arguments, dies=dies, **settings)
        else:
            worker = WorkerThread(tasks, pgqueue_dsn, **settings).start()
        workers.append(worker)
        return worker

    yield start
    for worker in workers:
        worker.stop()
