"""What pgqueue brings for the tests of applications works there, as the README shows it."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgqueue import PgqueueError, Tasks, Waiter, enqueue, migrate
from pgqueue.testing import Databases, WorkerThread, fake
from tests.command import environment
from tests.postgres import Server

README = Path(__file__).parents[1] / "README.md"


def run_pytest(where: Path, *arguments: str, **more: str) -> str:
    """Run pytest as an application does; return what it printed."""
    answer = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=where,
        env=environment(None, more),
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


def example() -> str:
    """The test in the README."""
    found = re.search(r"```python\n# test_welcome.py\n(.*?)```", README.read_text(), re.DOTALL)
    assert found is not None
    return found[1]


def test_the_example_of_the_readme_passes(tmp_path: Path, server: Databases) -> None:
    (tmp_path / "test_welcome.py").write_text(example())

    assert "2 passed" in run_pytest(tmp_path, PGQUEUE_TEST_DSN=server.dsn)


def test_without_a_server_it_starts_one_and_leaves_nothing_behind(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    tmp_path.chmod(0o711)
    home.chmod(0o711)  # root's server runs as somebody else
    for above in tmp_path.parents[:2]:
        above.chmod(0o711)
    (tmp_path / "test_own.py").write_text(
        "def test_own(pgqueue_connection):\n"
        "    jobs = pgqueue_connection.execute('SELECT id FROM pgqueue.jobs').fetchall()\n"
        "    assert jobs == []\n"
    )

    assert "1 passed" in run_pytest(tmp_path, TMPDIR=str(home))
    assert list(home.iterdir()) == []


def test_an_applications_own_tables_are_prepared_once(tmp_path: Path, own_server: Server) -> None:
    (tmp_path / "conftest.py").write_text(
        "import psycopg, pytest\n"
        "def prepare(dsn):\n"
        "    with psycopg.connect(dsn) as connection:\n"
        "        connection.execute('CREATE TABLE books (title text)')\n"
        "@pytest.fixture(scope='session')\n"
        "def pgqueue_prepare():\n"
        "    return prepare\n"
    )
    (tmp_path / "test_books.py").write_text(
        "import psycopg\n"
        "def test_rolled_back(pgqueue_connection):\n"
        "    pgqueue_connection.execute('INSERT INTO books VALUES (1)')\n"
        "def test_committed(pgqueue_dsn):\n"
        "    with psycopg.connect(pgqueue_dsn) as connection:\n"
        "        connection.execute('INSERT INTO books VALUES (1)')\n"
        "def test_afterwards(pgqueue_dsn, pgqueue_connection):\n"
        "    assert not pgqueue_connection.execute('SELECT * FROM books').fetchall()\n"
        "    with psycopg.connect(pgqueue_dsn) as connection:\n"
        "        assert not connection.execute('SELECT * FROM books').fetchall()\n"
    )

    dsn = own_server.dsn()
    before = databases(dsn)
    assert "3 passed" in run_pytest(tmp_path, PGQUEUE_TEST_DSN=dsn)
    assert databases(dsn) == before


def test_what_a_test_has_locked_is_free_when_the_next_begins(
    tmp_path: Path, server: Databases
) -> None:
    """However busy the server is: a connection that is closed rolls back when it comes to it."""
    (tmp_path / "test_locks.py").write_text(
        "import os, signal, threading\n"
        "LOCK = 'SELECT pg_try_advisory_xact_lock(1, 1)'\n"
        "def test_takes_it_and_its_server_process_stands_still(pgqueue_connection):\n"
        "    assert pgqueue_connection.execute(LOCK).fetchone()[0]\n"
        "    pid = pgqueue_connection.info.backend_pid\n"
        "    os.kill(pid, signal.SIGSTOP)\n"
        "    threading.Timer(0.5, os.kill, (pid, signal.SIGCONT)).start()\n"
        "def test_takes_it_again(pgqueue_connection):\n"
        "    assert pgqueue_connection.execute(LOCK).fetchone()[0]\n"
    )
    assert "2 passed" in run_pytest(tmp_path, PGQUEUE_TEST_DSN=server.dsn)


def databases(dsn: str) -> set[str]:
    with psycopg.connect(dsn) as connection:
        return {row[0] for row in connection.execute("SELECT datname FROM pg_database")}


def test_pytest_is_not_needed_to_import_the_kit() -> None:
    code = "import sys; sys.modules['pytest'] = None; import pgqueue.testing, pgqueue.worker"
    subprocess.run([sys.executable, "-c", code], env=environment(None), check=True)


tasks = Tasks()


@tasks.task("greet")
async def greet(name: str) -> str:
    return f"hello {name}"


def test_a_worker_in_this_process_runs_what_this_process_knows(
    pgqueue_dsn: str, pgqueue_worker: Callable[..., Any]
) -> None:
    with fake(greet, returns="hi") as calls, Waiter(pgqueue_dsn) as waiter:
        worker = pgqueue_worker(tasks)
        with psycopg.connect(pgqueue_dsn) as connection:
            job = enqueue(connection, greet.job("ann"))
        assert waiter.wait(job, timeout=30) == "hi"
        worker.stop()
        with psycopg.connect(pgqueue_dsn) as connection:
            workers = connection.execute("SELECT count(*) FROM pgqueue.workers").fetchone()

    assert calls == [{"name": "ann"}]
    assert workers == (0,)


def test_a_worker_that_cannot_start_says_so(empty_dsn: str) -> None:
    with pytest.raises(PgqueueError, match="exit code 3"), WorkerThread(tasks, empty_dsn):
        pass


def test_a_database_is_prepared_after_it_is_migrated(server: Databases) -> None:
    seen: list[bool] = []
    own = Databases(server.dsn, lambda dsn: seen.append(migrate.current(dsn) is not None))
    dsns = [own.create_migrated(), own.create_migrated()]
    for dsn in dsns:
        own.drop(dsn)
    own.drop_template()

    assert seen == [True]
