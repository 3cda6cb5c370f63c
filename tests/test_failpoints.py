"""A rotating sample of the failpoints, and their harness: ``make failpoints`` is all of them."""

import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from pgqueue.testing import Databases
from pgqueue.testing.databases import dsn_of
from tests.command import environment
from tests.failpoints.matrix import IN_NEED, Matrix, unreached
from tests.failpoints.rehearsal import prepare, rehearse
from tests.failpoints.saboteur import HOME, ORDERS, Saboteur, Strike, cut
from tests.failpoints.scene import Cell
from tests.failpoints.seam import step_of

SAMPLE = 12
PARALLEL = 4


@pytest.fixture
def saboteur(tmp_path: Path) -> Iterator[Saboteur]:
    return Saboteur([Strike("a/b:before", "error", 2), Strike("c/d:after", "bug")], tmp_path)


def test_every_promise_holds_when_a_process_is_harmed_at_one_of_its_steps(
    server: Databases,
) -> None:
    seed = datetime.now(UTC).toordinal()
    with Matrix(server.dsn, parallel=PARALLEL, seed=seed) as matrix:
        recorded = matrix.record()
        cells = random.Random(seed).sample(matrix.cells(recorded), SAMPLE)
        print(f"failpoints of seed {seed}: {', '.join(map(str, cells))}")
        verdicts = [*recorded, *matrix.run(cells)]

    wrong = [f"{v.cell} ({v.home}): {v.problems}" for v in verdicts if v.problems]
    assert not wrong, f"seed {seed}\n" + "\n".join(wrong)
    assert sum(v.outcome == "ok" for v in verdicts) >= len(recorded) + SAMPLE / 2
    passed = {point for verdict in recorded for point in verdict.passed}
    assert set(unreached(passed)) <= set(IN_NEED)


def test_a_promise_that_is_broken_fails_the_run(server: Databases) -> None:
    template = prepare(server)
    with psycopg.connect(dsn_of(server.dsn, template), autocommit=True) as connection:
        connection.execute(
            "CREATE RULE twice AS ON INSERT TO chaos.effect DO ALSO"
            " INSERT INTO chaos.marker VALUES (0)"
        )

    verdict = rehearse(Cell("psycopg Connection"), server.dsn, template)
    server.drop(dsn_of(server.dsn, template))

    assert verdict.outcome == "FAILED"
    assert [problem.split(":")[0] for problem in verdict.problems] == ["i02_atomic_enqueue"]
    assert verdict.home is not None
    assert (Path(verdict.home) / "chaos.history.csv").exists()
    shutil.rmtree(verdict.home)


def test_nothing_is_armed_where_pgqueue_alone_is_imported(tmp_path: Path) -> None:
    given = {ORDERS: '[["pump/claim_jobs:before", "kill", 1]]', HOME: str(tmp_path)}
    questions = (
        "import sys, psycopg, pgqueue.worker.main, pgqueue.testing\n"
        "assert not any(name.startswith('tests') for name in sys.modules)\n"
        "assert not hasattr(psycopg.Cursor.execute, '__wrapped__')\n"
        "assert not hasattr(psycopg.AsyncCursor.execute, '__wrapped__')\n"
        "assert not hasattr(psycopg.Connection.commit, '__wrapped__')\n"
    )
    subprocess.run([sys.executable, "-c", questions], env=environment(None, given), check=True)


def test_an_armed_process_says_so(tmp_path: Path) -> None:
    given = {ORDERS: '[["pump/claim_jobs:before", "kill", 1]]', HOME: str(tmp_path)}
    armed = (
        "from tests.failpoints.seam import arm\n"
        "from tests.failpoints.saboteur import Saboteur\n"
        "arm(Saboteur.of_the_environment())\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", armed],
        env=environment(None, given),
        capture_output=True,
        text=True,
        check=True,
    )

    assert "FAILPOINTS ARE ARMED IN THIS PROCESS: pump/claim_jobs:before kill" in answer.stderr


def test_strikes_come_in_their_order_at_their_passage_and_once(saboteur: Saboteur) -> None:
    saboteur.passes("c/d:after", None)
    saboteur.passes("a/b:before", None)
    with pytest.raises(psycopg.OperationalError, match="struck at a/b:before"):
        saboteur.passes("a/b:before", None)
    saboteur.passes("a/b:before", None)
    with pytest.raises(RuntimeError, match="struck at c/d:after"):
        saboteur.passes("c/d:after", None)
    saboteur.passes("c/d:after", None)


def test_a_connection_that_is_cut_is_of_no_use_to_anybody(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        pid = connection.info.backend_pid
        cut(connection)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    with psycopg.connect(dsn, autocommit=True) as other:
        left = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s AND state IS NOT NULL"
        for _ in range(1000):
            if other.execute(left, [pid]).fetchone() == (0,):
                return
            other.execute("SELECT pg_sleep(0.01)")
    pytest.fail("the server did not see it end")


@pytest.mark.parametrize(
    ("sql", "name"),
    [
        ("LISTEN pgqueue", "listen"),
        ("SELECT pg_listening_channels()", "pg_listening_channels"),
        ("SELECT\n  -- a word\n  set_config('a', 'b', false)", "set_config"),
        ("ROLLBACK TO SAVEPOINT before", "rollback"),
        ("SELECT pgqueue.enqueue('quick', '{}')", "enqueue"),
    ],
)
def test_a_step_is_called_what_it_is(sql: str, name: str) -> None:
    assert step_of(sql) == step_of(sql.encode()) == name
