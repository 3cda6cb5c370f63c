"""The PostgreSQL that the tests run on: one real server a run, and databases on it.

``PGQUEUE_TEST_DSN`` names another server to use; its role must be allowed to create databases.
``PGQUEUE_PG_BIN`` names other programs to start it with.

Fixtures, from the cheapest to the dearest:

``connection``       a psycopg connection to a migrated database, inside a transaction that is
                     rolled back
``dsn``              a migrated database of the test's own: for whatever commits
``empty_dsn``        a database of the test's own, without the schema
``own_server``       a server of the test's own, to stop() and start()
``healthy``          a migrated database on a server with PostgreSQL's own settings
"""

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from testing.postgresql import Postgresql

from pgqueue import migrate
from pgqueue.embedded import EmbeddedPostgres
from pgqueue.embedded.account import server_account
from pgqueue.embedded.binaries import find_binaries
from pgqueue.embedded.cluster import Cluster
from pgqueue.embedded.home import Home
from pgqueue.testing import Databases

# Fast, because nobody misses a test's data; the rest is what some test needs.
SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "max_prepared_transactions": "10",
    "timezone": "UTC",
}


MEMORY = Path("/dev/shm")


def memory() -> Path | None:
    """A file system in memory, if there is a large one: databases are created ten times as fast."""
    if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 4 << 30:
        return MEMORY
    return None


class Server(Postgresql):
    """``testing.postgresql``, with the product's programs, unprivileged account and private socket.

    Its own search, its TCP port (which two servers may both believe to be theirs) and its refusal
    to run as root are replaced; its life cycle is kept.
    """

    DEFAULT_BOOT_TIMEOUT = 60.0
    subdirectories = ()

    def __init__(self, place: Path | None = None) -> None:
        """*place*: the directory that its own is made in."""
        account = server_account()
        home = Home.throw_away(account, place or memory())
        self.cluster = Cluster(home, account, find_binaries(account))
        super().__init__(base_dir=str(self.cluster.home.path), port=0)

    def initialize(self) -> None:
        """Nothing to search for: the programs are found."""

    def initialize_database(self) -> None:
        self.cluster.create(durable=False)

    def get_server_commandline(self) -> list[str]:
        return self.cluster.server_command(SETTINGS)

    def is_server_available(self) -> bool:
        return self.cluster.is_ready()

    def poststart(self) -> None:
        """Nothing to create: see Databases."""

    def dsn(self, database: str = "postgres") -> str:
        return self.cluster.dsn(database)

    def crash(self) -> None:
        """Stop as a power cut would: what was committed is there after the next start()."""
        self.child_process.send_signal(signal.SIGQUIT)
        self.child_process.wait()
        self.child_process = None

    def discard(self) -> None:
        """Stop for good, and leave nothing behind."""
        self.stop()
        self.cluster.close()


SERVER = pytest.StashKey[Server]()


def dsn_with(dsn: str, **changes: str) -> str:
    """The libpq URI with these parameters changed."""
    parameters = {**conninfo_to_dict(dsn), **changes}
    return "postgresql:///?" + "&".join(
        f"{name}={quote(str(value), safe='')}" for name, value in parameters.items()
    )


def url_of(dsn: str, driver: str = "psycopg") -> str:
    """The SQLAlchemy URL of a libpq URI."""
    return dsn.replace("postgresql://", f"postgresql+{driver}://", 1)


def eventually(condition: Callable[[], object], *, within: float = 20.0) -> None:
    """Wait until *condition* holds, at most *within* seconds."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"not so within {within} s"
        time.sleep(0.01)


@pytest.fixture(scope="session")
def pgqueue_server(request: pytest.FixtureRequest) -> Iterator[str]:
    """The run's one server; the plugin's databases are on it. Never stop it: see own_server."""
    given = getattr(request.config, "workerinput", {}).get("dsn")
    shared = os.environ.get("PGQUEUE_TEST_DSN", given)
    own = None if shared else Server()
    yield shared or own.dsn()
    if own is not None:
        own.discard()


@pytest.fixture(scope="session")
def server(pgqueue_databases: Databases) -> Databases:
    return pgqueue_databases


@pytest.fixture
def empty_dsn(server: Databases) -> Iterator[str]:
    dsn = server.create()
    yield dsn
    server.drop(dsn)


@pytest.fixture
def dsn(pgqueue_dsn: str) -> str:
    return pgqueue_dsn


@pytest.fixture(scope="session")
def shared_dsn(pgqueue_shared_dsn: str) -> str:
    """A migrated database that all rolled-back tests share: commit nothing in it."""
    return pgqueue_shared_dsn


@pytest.fixture
def connection(pgqueue_connection: psycopg.Connection) -> psycopg.Connection:
    return pgqueue_connection


@pytest.fixture
def own_server() -> Iterator[Server]:
    server = Server()
    yield server
    server.discard()


@pytest.fixture(scope="session")
def healthy() -> Iterator[str]:
    """A database as people have it: on a server of its own, with PostgreSQL's own settings. Leave
    it as it was."""
    with EmbeddedPostgres() as postgres:
        migrate.upgrade(postgres.dsn)
        yield postgres.dsn


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """With pytest-xdist: one server for all its processes, owned by the one that starts them."""
    if os.environ.get("PGQUEUE_TEST_DSN"):
        return
    if SERVER not in node.config.stash:
        server = node.config.stash[SERVER] = Server()
        node.config.add_cleanup(server.discard)
    node.workerinput["dsn"] = node.config.stash[SERVER].dsn()
