"""What is promised when the primary is lost and a standby is promoted: with a synchronous standby
everything; with an asynchronous one everything but what it had not received."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgqueue import migrate
from pgqueue.embedded.account import server_account
from pgqueue.embedded.binaries import find_binaries
from tests.chaos import checker
from tests.chaos.cast import Cast
from tests.chaos.crew import RESCUE, Crew, Post
from tests.chaos.logbook import Logbook, now, read
from tests.chaos.run import drain
from tests.chaos.server import DurableServer
from tests.postgres import dsn_with, eventually

STANDBY = "standby"


class Standby(DurableServer):
    """A streaming copy of another server."""

    def __init__(self, primary: DurableServer) -> None:
        self._primary = primary
        super().__init__()

    def initialize_database(self) -> None:
        self.cluster.data.mkdir()
        self.cluster.account.give(self.cluster.data)
        primary = dsn_with(self._primary.dsn(), application_name=STANDBY)
        words = ("-d", primary, "-D", str(self.cluster.data), "-R", "--checkpoint=fast")
        program = self.cluster.binaries.directory / "pg_basebackup"
        answer: subprocess.CompletedProcess[str] = self.cluster.account.run(program, *words)
        assert answer.returncode == 0, answer.stderr


class Pair:
    """A primary and its standby, and everybody who works on whichever of them can be written."""

    def __init__(self, stack: ExitStack, home: Path) -> None:
        self.home = home
        self.primary = DurableServer()
        stack.callback(self.primary.discard)
        with self.on(self.primary, "postgres") as connection:
            connection.execute("CREATE DATABASE chaos")
        migrate.upgrade(self.primary.dsn("chaos"))
        with self.on(self.primary) as connection:
            checker.install(connection)
        self.standby = Standby(self.primary)
        stack.callback(self.standby.discard)
        hosts = f"{self.primary.cluster.sockets},{self.standby.cluster.sockets}"
        self.dsn = dsn_with(
            self.primary.dsn("chaos"),
            host=hosts,
            port="5432,5432",
            target_session_attrs="read-write",
        )
        self.book = Logbook(home, "harness", durable=True)
        self.crew = Crew(home, self.book)
        stack.callback(self.crew.discard)
        self.cast = Cast(home)
        stack.callback(self.cast.discard)

    @staticmethod
    def on(server: DurableServer, database: str = "chaos") -> psycopg.Connection[Any]:
        return psycopg.connect(server.dsn(database), autocommit=True)

    def work(self) -> None:
        """Start workers, and an application that enqueues on."""
        for _ in range(2):
            settings = {"queues": {"default": 8, "children": 1}}
            self.crew.hire(Post(name="worker", dsn=self.dsn, settings=settings))
        self.cast.enqueue(self.dsn, seed="enqueuer", is_pooled=False, jobs=1000, seconds=12)

    def acknowledged(self) -> int:
        return sum(entry["what"] == "ack" for entry in read(self.home))

    def fail_over(self) -> None:
        """The primary is gone, and the standby takes its place."""
        began = now()
        self.primary.crash()
        with self.on(self.standby, "postgres") as connection:
            assert connection.execute("SELECT pg_promote()").fetchone() == (True,)
        self.book.write("fault", kind="failover", targets=["db"], began=began, ended=now())

    def finish(self) -> None:
        assert self.cast.leave() == []
        assert drain(self.standby.dsn("chaos"), self.crew) is not None
        self.crew.stop()
        assert self.crew.surprises == []


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    programs = find_binaries(server_account()).directory
    if not (programs / "pg_basebackup").exists():
        pytest.skip(f"NOT TESTED: there is no pg_basebackup in {programs}")
    with ExitStack() as stack:
        yield Pair(stack, tmp_path)


def test_a_synchronous_standby_that_takes_over_has_lost_nothing(pair: Pair) -> None:
    with pair.on(pair.primary, "postgres") as connection:
        connection.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{STANDBY}'".encode())
        connection.execute("SELECT pg_reload_conf()")
        eventually(
            lambda: connection.execute(
                "SELECT true FROM pg_stat_replication WHERE sync_state = 'sync'"
            ).fetchone()
        )
    with pair.on(pair.standby, "postgres") as connection:
        assert connection.execute("SELECT pg_is_in_recovery()").fetchone() == (True,)
    pair.work()
    eventually(lambda: pair.acknowledged() > 200, within=60)
    pair.fail_over()
    # The copy has its primary's settings, and waits for a standby of its own.
    with psycopg.connect(
        pair.standby.dsn("postgres"), autocommit=True, options="-c synchronous_commit=local"
    ) as connection:
        connection.execute("ALTER SYSTEM RESET synchronous_standby_names")
        connection.execute("SELECT pg_reload_conf()")
    pair.finish()

    with pair.on(pair.standby) as connection:
        checker.load(connection, read(pair.home), rescue=timedelta(seconds=RESCUE))
        assert checker.check(connection) == []
        assert connection.execute("SELECT count(*) > 900 FROM chaos.ack").fetchone() == (True,)


def test_an_asynchronous_standby_has_lost_what_it_had_not_received_and_nothing_else(
    pair: Pair,
) -> None:
    pair.work()
    eventually(lambda: pair.acknowledged() > 200, within=60)
    with pair.on(pair.standby, "postgres") as connection:
        connection.execute("ALTER SYSTEM SET primary_conninfo = ''")
        connection.execute("SELECT pg_reload_conf()")
        eventually(
            lambda: not connection.execute("SELECT true FROM pg_stat_wal_receiver").fetchone()
        )
    cut = now()
    received = pair.acknowledged()
    eventually(lambda: pair.acknowledged() > received + 50)
    pair.fail_over()
    pair.finish()

    with pair.on(pair.standby) as connection:
        checker.load(connection, read(pair.home), rescue=timedelta(seconds=RESCUE))
        lost = connection.execute(
            "SELECT ack.at FROM chaos.ack WHERE NOT EXISTS ("
            "SELECT FROM pgqueue.all_jobs WHERE id = ack.job_id)"
        ).fetchall()
        found = {violation.invariant.name for violation in checker.check(connection)}
    assert lost
    assert all(at.timestamp() > cut - 1.0 for (at,) in lost)
    # What was written of each attempt that is known was written by that attempt, all the same.
    assert not found & {"i03_over", "i04_one_outcome", "i06_fence", "i06_results", "i07_cause"}
    assert not found & {"i05_attempts", "i17_counters", "i24_transitions", "i25_batches"}
