"""``python -m tests.chaos.run``: real workers, enqueuers and people on a real server, while faults
are done to all of them; then the checker. Exits 0 if every promise held."""

import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
import psycopg
from psycopg import sql

import pgqueue
from pgqueue import NewJob, migrate
from tests.chaos import checker
from tests.chaos.crew import RESCUE, Crew, Post
from tests.chaos.faults import World
from tests.chaos.logbook import Logbook, read
from tests.chaos.plague import Plague
from tests.chaos.proxy import Network
from tests.chaos.report import Report, measure
from tests.chaos.server import DurableServer, Pooler
from tests.command import environment
from tests.postgres import dsn_with

DRAIN = 180.0
"""Seconds within which everything is over once nothing is broken any more."""
OVERTIME = 120.0
"""Seconds that enqueuers may take longer than planned, faults and all."""


class Cast:
    """The processes that are not workers."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._enqueuers: list[subprocess.Popen[bytes]] = []
        self._bystanders: list[subprocess.Popen[bytes]] = []

    def enqueue(self, dsn: str, *, seed: str, is_pooled: bool, jobs: int, seconds: float) -> None:
        order = {
            "dsn": dsn_with(dsn, application_name="chaos:enqueuer"),
            "is_pooled": is_pooled,
            "seed": seed,
            "jobs": jobs,
            "seconds": seconds,
        }
        self._enqueuers.append(self._start("tests.chaos.enqueuer", seed, order))

    def stand_by(self, dsn: str, *, seed: str) -> None:
        self._bystanders.append(
            self._start("tests.chaos.bystander", seed, {"dsn": dsn, "seed": seed})
        )

    @property
    def is_enqueuing(self) -> bool:
        return any(each.poll() is None for each in self._enqueuers)

    def leave(self) -> list[str]:
        """Wait for all to end; return what went wrong with them."""
        for each in self._bystanders:
            each.terminate()
        wrong = []
        for each in [*self._enqueuers, *self._bystanders]:
            with suppress(subprocess.TimeoutExpired):
                each.wait(30)
            if each.poll() != 0:
                wrong.append(f"process {each.pid} that enqueues or looks on: {each.poll()}")
        return wrong

    def discard(self) -> None:
        for each in [*self._enqueuers, *self._bystanders]:
            if each.poll() is None:
                each.kill()
                each.wait()

    def _start(self, module: str, name: str, order: dict[str, Any]) -> subprocess.Popen[bytes]:
        words = json.dumps({**order, "home": str(self._home)})
        with (self._home / f"{name}.log").open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", module, words],
                env=environment(None),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )


def rehearse(
    *,
    seconds: float,
    jobs: int,
    seed: int,
    workers: int,
    fault_every: float,
    is_quiet: bool = False,
) -> Report:
    """Do one run and judge it."""
    home = Path(tempfile.mkdtemp(prefix="pgqueue-chaos-"))
    home.chmod(0o711)  # the pooler's account passes through
    with ExitStack() as stack:
        server = DurableServer()
        stack.callback(server.discard)
        database = server.dsn("chaos")
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute("CREATE DATABASE chaos")
        migrate.upgrade(database)
        with psycopg.connect(database, autocommit=True) as connection:
            checker.install(connection)
            make_schedules(connection)
        network = stack.enter_context(Network(database))
        pooler = None
        if Pooler.is_installed():
            pooler = stack.enter_context(Pooler(server, home))
        book = Logbook(home, "harness", durable=True)
        crew = Crew(home, book)
        stack.callback(crew.discard)
        cast = Cast(home)
        stack.callback(cast.discard)
        for post in posts(database, network, pooler, workers):
            crew.hire(post)
        ways = [database, network.dsn, *([pooler.dsn("chaos")] if pooler else [])]
        for n, dsn in enumerate(ways):
            cast.enqueue(
                dsn,
                seed=f"enqueuer{n}-{seed}",
                is_pooled=n == 2,
                jobs=jobs // len(ways) + 1,
                seconds=seconds * 0.9,
            )
        cast.stand_by(database, seed=f"bystander-{seed}")
        world = World(home, database, server, crew, network, pooler, book, random.Random(seed))
        plague = Plague(world, every=fault_every)
        began = time.monotonic()
        latest = began + seconds + OVERTIME
        while time.monotonic() < began + seconds or (
            cast.is_enqueuing and time.monotonic() < latest
        ):
            plague.rage(until=began + seconds)
            crew.keep_up()
            if not is_quiet:
                _show(plague, crew, time.monotonic() - began)
            time.sleep(0.05)
        plague.heal()
        wrong = cast.leave()
        drained_in = drain(database, crew)
        crew.stop()
        if pooler is not None:
            pooler.stop()
        with psycopg.connect(database, autocommit=True) as connection:
            checker.load(connection, read(home), rescue=timedelta(seconds=RESCUE))
            violations = checker.check(connection)
            files = checker.check_files(connection)
            report = measure(
                connection,
                seed=seed,
                faults=plague.done,
                missed=plague.missed,
                violations=violations,
                surprises=[*wrong, *crew.surprises, *errors_in(home)],
                drained_in=drained_in,
                pooler=pooler is not None,
                files=files,
                home=home,
            )
        if report.is_clean:
            stack.callback(shutil.rmtree, home, ignore_errors=True)
        else:
            dump(database, home)
    return report


def posts(dsn: str, network: Network, pooler: Pooler | None, count: int) -> list[Post]:
    """*count* workers of different kinds."""
    both = {"queues": {"default": 6, "children": 1}, "prefetch": 20}
    plain = {"queues": {"default": 8}, "prefetch": 20}
    kinds = [
        Post(name="direct", dsn=dsn, settings=both),
        Post(name="network", dsn=network.dsn, behind="network", settings=plain),
        Post(name="family", dsn=dsn, settings=plain, processes=2),
    ]
    if pooler is not None:
        listen = {**plain, "listen_dsn": dsn}
        kinds.append(Post(name="pooled", dsn=pooler.dsn("chaos"), behind="pooler", settings=listen))
    return [kinds[n % len(kinds)] for n in range(count)]


def make_schedules(connection: psycopg.Connection[Any]) -> None:
    job = NewJob("ticked")
    pgqueue.schedule(connection, "often", job, every=2, overlap="allow", misfire="one")
    pgqueue.schedule(connection, "one-by-one", job, every=3, overlap="queue_one", misfire="skip")
    pgqueue.schedule(connection, "all-of-them", job, every=5, misfire="all")


def drain(dsn: str, crew: Crew) -> float | None:
    """Wait until every job is over; return how long it took, or None if some are not."""
    began = time.monotonic()
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("UPDATE pgqueue.schedules SET enabled = false")
        while time.monotonic() < began + DRAIN:
            crew.keep_up()
            row = connection.execute(
                "SELECT (SELECT count(*) FROM pgqueue.jobs WHERE state <> 'dead')"
                " + (SELECT count(*) FROM pgqueue.batches WHERE completed_at IS NULL)"
                " + (SELECT count(*) FROM pgqueue.batch_outcomes)"
            ).fetchone()
            if row == (0,):
                return time.monotonic() - began
            time.sleep(0.1)
    return None


def errors_in(home: Path) -> list[str]:
    """What a log says that must never be said: an error, or an exception that nobody caught."""
    found = []
    for path in sorted(home.glob("*.log")):
        if path.name == "pgbouncer.log":
            continue
        before = ""
        for line in path.read_text(errors="replace").splitlines():
            unforeseen = line.startswith("Traceback") and " WARNING " not in before
            if unforeseen or " ERROR " in line or " CRITICAL " in line:
                found.append(f"{path.name}: {line.strip()}")
            before = line
    return found


def dump(dsn: str, home: Path) -> None:
    """Keep the history of a run that failed: it is the bug report."""
    tables = ("chaos.history", "chaos.fault", "pgqueue.attempts", "pgqueue.all_jobs", "chaos.start")
    with psycopg.connect(dsn) as connection, connection.cursor() as cursor:
        for table in tables:
            copy = sql.SQL("COPY (SELECT * FROM {}) TO STDOUT (FORMAT csv, HEADER)").format(
                sql.Identifier(*table.split("."))
            )
            with (home / f"{table}.csv").open("wb") as file, cursor.copy(copy) as out:
                for block in out:
                    file.write(block)


def _show(plague: Plague, crew: Crew, seconds: float) -> None:
    if sys.stderr.isatty():
        now = ", ".join(plague.raging) or "nothing"
        click.echo(
            f"\r{seconds:5.0f} s  {sum(plague.done.values()):3} faults  {len(crew.hands)} workers"
            f"  now: {now:60.60}",
            err=True,
            nl=False,
        )


@click.command()
@click.option("--minutes", default=2.5, show_default=True, help="How long faults are done.")
@click.option("--jobs", default=10_000, show_default=True, help="Jobs to enqueue.")
@click.option("--seed", type=int, help="Draw the faults from this seed. Default: a new one.")
@click.option("--workers", default=4, show_default=True, help="Worker processes.")
@click.option("--every", default=2.0, show_default=True, help="Seconds from fault to fault.")
def main(minutes: float, jobs: int, seed: int | None, workers: int, every: float) -> None:
    """Break everything for a while, then see whether every promise held."""
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    click.echo(f"seed {seed}")
    report = rehearse(
        seconds=minutes * 60, jobs=jobs, seed=seed, workers=workers, fault_every=every
    )
    click.echo(str(report))
    sys.exit(0 if report.is_clean else 1)


if __name__ == "__main__":
    main()
