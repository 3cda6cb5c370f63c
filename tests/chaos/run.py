"""``python -m tests.chaos.run``: real workers, enqueuers and people on a real server, while faults
are done to all of them; then the checker. Exits 0 if every promise held."""

import random
import shutil
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
import psycopg
from psycopg import sql

import pgqueue
from pgqueue import NewJob, migrate
from pgqueue.embedded.server import exit_on_sigterm
from tests.chaos import checker
from tests.chaos.cast import Cast
from tests.chaos.crew import RESCUE, Crew, Post
from tests.chaos.faults import KINDS, World, impossible
from tests.chaos.logbook import Logbook, read
from tests.chaos.plague import Plague
from tests.chaos.proxy import Network
from tests.chaos.report import Report, measure
from tests.chaos.server import DurableServer, Pooler
from tests.chaos.volume import Volume
from tests.chaos.wall import Wall

DRAIN = 180.0
"""Seconds within which everything is over once nothing is broken any more."""
CHAINS = ("The above exception", "During handling of")
"""What stands between the tracebacks of a chain of exceptions."""
VANISHED = 75.0
"""Seconds within which the server has missed, by its keepalives (60 s), those who vanished without
a word: packets that told it of their end were lost behind the wall."""
OVERTIME = 120.0
"""Seconds that enqueuers may take longer than planned, faults and all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run is to be."""

    seed: int
    seconds: float = 150.0
    jobs: int = 10_000
    workers: int = 5
    every: float = 2.0
    """Seconds from the beginning of a fault to that of the next, on average."""
    kinds: tuple[str, ...] = ()
    """Only faults of these kinds. Default: of all."""
    is_quiet: bool = False


def rehearse(plan: Plan) -> Report:
    """Do one run and judge it."""
    home = Path(tempfile.mkdtemp(prefix="pgqueue-chaos-"))
    home.chmod(0o711)  # the pooler's account passes through
    with ExitStack() as stack:
        world = make_world(plan, home, stack)
        cast = Cast(home)
        stack.callback(cast.discard)
        people(world, cast, plan)
        plague = Plague(world, every=plan.every, kinds=plan.kinds)
        rage(plague, world.crew, cast, plan)
        wrong = cast.leave()
        drained_in = drain(world.dsn, world.crew)
        world.crew.stop()
        if world.pooler is not None:
            world.pooler.stop()
        if plague.done["network walled off"]:
            miss_the_vanished(world.dsn)
        report = judge(world, plague, plan, wrong, drained_in)
        if report.is_clean:
            stack.callback(shutil.rmtree, home, ignore_errors=True)
        else:
            dump(world.dsn, home)
    return report


def make_world(plan: Plan, home: Path, stack: ExitStack) -> World:
    """A server with a migrated database, the ways to it, and workers. *stack* ends it all."""
    volume = Volume.mount()
    if volume is not None:
        stack.enter_context(volume)
    server = DurableServer(volume.path if volume is not None else None)
    stack.callback(server.discard)
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute("CREATE DATABASE chaos")
    dsn = server.dsn("chaos")
    migrate.upgrade(dsn)
    with psycopg.connect(dsn, autocommit=True) as connection:
        checker.install(connection)
        make_schedules(connection)
    network = stack.enter_context(Network(dsn))
    pooler = stack.enter_context(Pooler(server, home)) if Pooler.is_installed() else None
    book = Logbook(home, "harness", durable=True)
    crew = Crew(home, book)
    stack.callback(crew.discard)
    wall = Wall.build()
    behind = None
    if wall is not None:
        stack.enter_context(wall)
        behind = stack.enter_context(Network(dsn, wall.host)).dsn, wall
    for post in posts(dsn, network, pooler, behind, plan.workers):
        crew.hire(post)
    chance = random.Random(plan.seed)
    return World(home, dsn, server, crew, network, pooler, volume, wall, book, chance)


def people(world: World, cast: Cast, plan: Plan) -> None:
    """Have an application enqueue on each way to the server, and people look on."""
    ways = {"direct": world.dsn, "network": world.network.dsn}
    if world.pooler is not None:
        ways["pooler"] = world.pooler.dsn("chaos")
    for way, dsn in ways.items():
        cast.enqueue(
            dsn,
            seed=f"enqueuer-{way}-{plan.seed}",
            is_pooled=way == "pooler",
            jobs=plan.jobs // len(ways) + 1,
            seconds=plan.seconds * 0.9,
        )
    cast.stand_by(world.dsn, seed=f"bystander-{plan.seed}")


def rage(plague: Plague, crew: Crew, cast: Cast, plan: Plan) -> None:
    """Let the plague rage for as long as planned, and all jobs be enqueued; then heal it."""
    began = time.monotonic()
    end = began + plan.seconds
    while time.monotonic() < end or (cast.is_enqueuing and time.monotonic() < end + OVERTIME):
        plague.rage(until=end)
        crew.keep_up()
        if not plan.is_quiet:
            _show(plague, crew, time.monotonic() - began)
        time.sleep(0.05)
    plague.heal()


def judge(
    world: World, plague: Plague, plan: Plan, wrong: list[str], drained_in: float | None
) -> Report:
    """Ask the checker, and count."""
    with psycopg.connect(world.dsn, autocommit=True) as connection:
        checker.load(connection, read(world.home), rescue=timedelta(seconds=RESCUE))
        return measure(
            connection,
            seed=plan.seed,
            faults=plague.done,
            violations=checker.check(connection),
            surprises=[*wrong, *world.crew.surprises, *errors_in(world.home)],
            drained_in=drained_in,
            skipped=impossible(world),
            files=checker.check_files(connection),
            home=world.home,
        )


def posts(
    dsn: str,
    network: Network,
    pooler: Pooler | None,
    behind: tuple[str, Wall] | None,
    count: int,
) -> list[Post]:
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
    if behind is not None:
        way, wall = behind
        prefix = tuple(wall.prefix)
        kinds.append(Post(name="walled", dsn=way, behind="wall", prefix=prefix, settings=plain))
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


def miss_the_vanished(dsn: str) -> None:
    """Wait until the server has no session of ours any more, or should have missed it."""
    began = time.monotonic()
    with psycopg.connect(dsn, autocommit=True) as connection:
        while time.monotonic() < began + VANISHED:
            row = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND application_name LIKE 'pgqueue%'"
            ).fetchone()
            if row == (0,):
                return
            time.sleep(0.1)


def errors_in(home: Path) -> list[str]:
    """What a log says that must never be said: an error, or an exception that nobody caught."""
    found = []
    for path in sorted(home.glob("*.log")):
        if path.name == "pgbouncer.log":
            continue
        before, foreseen = "", False
        for line in filter(None, path.read_text(errors="replace").splitlines()):
            is_traceback = line.startswith("Traceback")
            if is_traceback:
                # The second of a chain is foreseen if the first was.
                foreseen = " WARNING " in before or (foreseen and before.startswith(CHAINS))
            unforeseen = is_traceback and not foreseen
            # A supervisor reports a member that was killed, as it should.
            killed = "ended with -9" in line or "signal SIGKILL" in line
            wrong = " ERROR " in line and not killed
            if unforeseen or wrong or " CRITICAL " in line:
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
@click.option("--workers", default=5, show_default=True, help="Worker processes.")
@click.option(
    "--only", multiple=True, type=click.Choice(list(KINDS)), help="This kind of fault; repeatable."
)
@click.option("--every", default=2.0, show_default=True, help="Seconds from fault to fault.")
def main(
    minutes: float, jobs: int, seed: int | None, workers: int, only: tuple[str, ...], every: float
) -> None:
    """Break everything for a while, then see whether every promise held."""
    exit_on_sigterm()
    # Whatever hangs, the harness does not, and cleans up.
    signal.signal(signal.SIGALRM, lambda *_: sys.exit("the run itself hangs"))
    signal.alarm(int(minutes * 60 + OVERTIME + DRAIN + 120))
    plan = Plan(
        seed=random.SystemRandom().randrange(10**6) if seed is None else seed,
        seconds=minutes * 60,
        jobs=jobs,
        workers=workers,
        every=every,
        kinds=only,
    )
    click.echo(f"seed {plan.seed}")
    report = rehearse(plan)
    click.echo(str(report))
    sys.exit(0 if report.is_clean else 1)


if __name__ == "__main__":
    main()
