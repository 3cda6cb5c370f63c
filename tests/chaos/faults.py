"""What is done to a run. A fault is a generator: it does its harm, yields whom it keeps from
renewing and for how many seconds it is to last, and heals what it did."""

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psycopg
from psycopg import sql

import pgqueue
from pgqueue.testing.databases import name_of
from tests.chaos.crew import LEASE, Crew, Hand, Post
from tests.chaos.handlers import block, hog
from tests.chaos.hunger import Hunger
from tests.chaos.logbook import Logbook
from tests.chaos.proxy import Network, Weather
from tests.chaos.server import DurableServer, Pooler
from tests.chaos.volume import Volume
from tests.chaos.wall import Wall

DATABASE = ("db",)
NOBODY = ("",)
ROLES = ("pgqueue%", "pgqueue:heartbeat", "pgqueue:listener", "pgqueue:maintenance", "%")


class Missed(Exception):
    """There is nothing at present that this fault could be done to."""


@dataclass(frozen=True, slots=True)
class Harm:
    """Who cannot renew leases for how long."""

    seconds: float
    targets: tuple[str, ...] = NOBODY


Fault = Callable[["World"], Iterator[Harm]]


@dataclass(slots=True)
class World:
    """All that can be harmed."""

    home: Path
    dsn: str
    server: DurableServer
    crew: Crew
    network: Network
    pooler: Pooler | None
    volume: Volume | None
    """What the server's files are on."""
    wall: Wall | None
    book: Logbook
    random: random.Random

    def connect(self, **how: Any) -> psycopg.Connection[Any]:
        """Every statement is bounded: other faults, our own too, hold locks meanwhile."""
        how.setdefault("options", "-c statement_timeout=3s")
        try:
            return psycopg.connect(
                self.dsn, autocommit=True, application_name="chaos:fault", connect_timeout=3, **how
            )
        except psycopg.Error:
            raise Missed from None

    def choose(self, behind: str | None = None) -> Hand:
        prey = self.crew.prey(behind)
        if not prey:
            raise Missed
        return self.random.choice(prey)

    def note_down(self, kind: str, harm: Harm, began: float, ended: float) -> None:
        self.book.write("fault", kind=kind, targets=list(harm.targets), began=began, ended=ended)


# A worker


def kill_worker(world: World) -> Iterator[Harm]:
    """The whole container is gone."""
    hand = world.choose()
    hand.is_doomed = True
    hand.send(signal.SIGKILL, hand.everyone())
    yield Harm(0.0, (hand.name,))


def kill_supervisor(world: World) -> Iterator[Harm]:
    """The process that was started, and not those below it."""
    hand = world.choose()
    hand.is_doomed = True
    hand.everyone()
    hand.process.kill()
    yield Harm(1.0, (hand.name,))


def kill_child(world: World) -> Iterator[Harm]:
    """What the kernel does when memory runs out: one process below a worker, whichever."""
    hand = world.choose()
    family = sorted(hand.process.family())
    if not family:
        raise Missed
    hand.send(signal.SIGKILL, {world.random.choice(family)})
    yield Harm(0.0, (hand.name,))


def starve_worker(world: World) -> Iterator[Harm]:
    """Memory is used up: the kernel kills one of a worker's processes, whichever asks for some."""
    hunger = Hunger.make()
    if hunger is None:
        raise Missed
    with hunger:
        hand = world.choose()
        hand.is_doomed = True
        hunger.take_in(hand.everyone())
        yield Harm(3.0, (hand.name,))


def freeze_worker(world: World) -> Iterator[Harm]:
    """It sleeps for up to two leases, and wakes up."""
    hand = world.choose()
    hand.frozen = hand.everyone()
    hand.send(signal.SIGSTOP, hand.frozen)
    yield Harm(world.random.uniform(0.3, 2.0) * LEASE, (hand.name,))
    world.crew.thaw(hand)


def stop_worker(world: World) -> Iterator[Harm]:
    """SIGTERM, with whatever it has in hand."""
    hand = world.choose()
    world.crew.tell(hand)
    yield Harm(0.0)


def block_event_loop(world: World) -> Iterator[Harm]:
    with world.connect() as connection, connection.transaction():
        job = pgqueue.enqueue(connection, block.job(seconds=1.5 * LEASE).options(priority=0))
        connection.execute("INSERT INTO chaos.marker VALUES (%s)", [job.id])
    yield Harm(0.0)


def hold_interpreter(world: World) -> Iterator[Harm]:
    with world.connect() as connection, connection.transaction():
        job = pgqueue.enqueue(connection, hog.job(seconds=1.5 * LEASE).options(priority=0))
        connection.execute("INSERT INTO chaos.marker VALUES (%s)", [job.id])
    yield Harm(0.0)


def hire_with_wrong_clock(world: World) -> Iterator[Harm]:
    """A worker whose clock is off by hours works beside the others for a while."""
    skew = world.random.choice((-7200.0, 7200.0))
    hand = world.crew.hire(Post(name="skewed", dsn=world.dsn, skew=skew, is_lasting=False))
    yield Harm(8.0)
    if hand.is_idle_prey:
        world.crew.tell(hand)


# The server


def restart_immediately(world: World) -> Iterator[Harm]:
    world.server.restart(immediate=True)
    yield Harm(0.0, DATABASE)


def restart_fast(world: World) -> Iterator[Harm]:
    world.server.restart(immediate=False)
    yield Harm(0.0, DATABASE)


def fill_disk(world: World) -> Iterator[Harm]:
    """No byte is left for the server. It may go down, and come up again only when there is room."""
    if world.volume is None:
        raise Missed
    world.volume.fill()
    time.sleep(world.random.uniform(1.0, 3.0))
    world.volume.free()
    world.server.revive()
    yield Harm(0.0, DATABASE)


def kill_backend(world: World) -> Iterator[Harm]:
    """One backend dies of SIGKILL, and the server throws out everybody."""
    with world.connect() as connection:
        pid = _one(connection, "pgqueue%")
        connection.execute("CHECKPOINT")
        os.kill(pid, signal.SIGKILL)
    time.sleep(0.1)
    world.server.await_recovery()
    yield Harm(0.0, DATABASE)


def terminate_backends(world: World) -> Iterator[Harm]:
    with world.connect() as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name LIKE %s AND datname = current_database()"
            " AND pid <> pg_backend_pid() AND application_name NOT LIKE 'chaos:fault%%'",
            [world.random.choice(ROLES)],
        )
    yield Harm(0.0)


def cancel_statements(world: World) -> Iterator[Harm]:
    """Whatever runs is cancelled, for a second: COMMITs too."""
    until = time.monotonic() + 1.0
    with world.connect() as connection:
        while time.monotonic() < until:
            connection.execute(
                "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE state = 'active'"
                " AND datname = current_database() AND pid <> pg_backend_pid()"
                " AND application_name NOT LIKE 'chaos:fault%'"
            )
    yield Harm(0.0)


def lock_jobs(world: World) -> Iterator[Harm]:
    """As a careless ALTER TABLE does that waits for something else."""
    with closing(world.connect()) as connection:
        connection.execute("BEGIN")
        try:
            connection.execute("LOCK TABLE pgqueue.jobs IN ACCESS EXCLUSIVE MODE")
        except psycopg.Error:
            raise Missed from None
        yield Harm(world.random.uniform(2.0, 6.0), DATABASE)
        with suppress(psycopg.Error):
            connection.execute("ROLLBACK")


def hold_snapshot(world: World) -> Iterator[Harm]:
    """As a long report does: nothing can be vacuumed meanwhile."""
    with closing(world.connect()) as connection:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        connection.execute("SELECT count(*) FROM pgqueue.jobs")
        yield Harm(10.0)
        with suppress(psycopg.Error):
            connection.execute("ROLLBACK")


def rebuild_indexes(world: World) -> Iterator[Harm]:
    """REINDEX CONCURRENTLY, by somebody who is patient."""
    index = world.random.choice(("jobs_available", "jobs_lease", "jobs_scheduled", "jobs_pkey"))
    task = threading.Thread(
        target=_run, args=(world, f"REINDEX INDEX CONCURRENTLY pgqueue.{index}")
    )
    task.start()
    yield Harm(2.0)
    task.join(30)


def shorten_statements(world: World) -> Iterator[Harm]:
    """An administrator sets statement_timeout for everybody, and it is far too short."""
    database = sql.Identifier(name_of(world.dsn))
    with world.connect() as connection:
        connection.execute(
            sql.SQL("ALTER DATABASE {} SET statement_timeout = '50ms'").format(database)
        )
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name LIKE 'pgqueue%' AND datname = current_database()"
        )
    yield Harm(5.0, tuple(hand.name for hand in world.crew.hands) or NOBODY)
    _insist(world, sql.SQL("ALTER DATABASE {} RESET statement_timeout").format(database))


def use_up_connections(world: World) -> Iterator[Harm]:
    """Somebody else has them all, and then workers need new ones."""
    with ExitStack() as held:
        with suppress(Missed):
            for _ in range(200):
                held.enter_context(closing(world.connect()))
        world.network.cut()
        yield Harm(3.0, tuple(hand.name for hand in world.crew.hands) or NOBODY)


# The network


def cut_connections(world: World) -> Iterator[Harm]:
    if not world.network.cut():
        raise Missed
    yield Harm(0.0)


def lose_packets(world: World) -> Iterator[Harm]:
    yield from _weather(world, Weather.HOLE, world.random.uniform(2.0, 9.0))


def lose_answers(world: World) -> Iterator[Harm]:
    """Half-open: the server hears its clients and is not heard."""
    yield from _weather(world, Weather.DEAF, world.random.uniform(2.0, 6.0))


def wall_off(world: World) -> Iterator[Harm]:
    """The kernel loses every packet of some, both ways, and tells neither side."""
    walled = _behind(world, "wall")
    if world.wall is None or walled == NOBODY or not world.wall.rise():
        raise Missed
    yield Harm(world.random.uniform(2.0, 9.0), walled)
    world.wall.fall()


def delay_packets(world: World) -> Iterator[Harm]:
    world.network.delay = world.random.uniform(0.05, 0.4)
    yield from _weather(world, Weather.SLOW, world.random.uniform(3.0, 8.0))


def lose_commit(world: World) -> Iterator[Harm]:
    yield from _doom(world, "ask")


def lose_answer_to_commit(world: World) -> Iterator[Harm]:
    yield from _doom(world, "answer")


# The pooler


def restart_pooler(world: World) -> Iterator[Harm]:
    if world.pooler is None:
        raise Missed
    world.pooler.stop()
    yield Harm(world.random.uniform(0.0, 2.0), _behind(world, "pooler"))
    world.pooler.start()


def pause_pooler(world: World) -> Iterator[Harm]:
    pooler = world.pooler
    if pooler is None:
        raise Missed
    threading.Thread(target=_tell, args=(pooler, "PAUSE"), daemon=True).start()
    yield Harm(world.random.uniform(1.0, 4.0), _behind(world, "pooler"))
    _tell(pooler, "RESUME")


KINDS: dict[str, Fault] = {
    "worker killed": kill_worker,
    "supervisor killed": kill_supervisor,
    "child killed": kill_child,
    "memory used up": starve_worker,
    "worker frozen": freeze_worker,
    "worker told to stop": stop_worker,
    "event loop to be blocked": block_event_loop,
    "GIL to be held": hold_interpreter,
    "client clock wrong": hire_with_wrong_clock,
    "server restarted, immediate": restart_immediately,
    "server restarted, fast": restart_fast,
    "disk full": fill_disk,
    "backend killed": kill_backend,
    "backends terminated": terminate_backends,
    "statements cancelled": cancel_statements,
    "jobs locked exclusively": lock_jobs,
    "snapshot held": hold_snapshot,
    "indexes rebuilt": rebuild_indexes,
    "statement_timeout 50 ms": shorten_statements,
    "connections used up": use_up_connections,
    "connections cut": cut_connections,
    "network a black hole": lose_packets,
    "network half open": lose_answers,
    "network walled off": wall_off,
    "network slow": delay_packets,
    "COMMIT lost": lose_commit,
    "answer to COMMIT lost": lose_answer_to_commit,
    "pooler restarted": restart_pooler,
    "pooler paused": pause_pooler,
}
LEFT_OUT = {
    "replica promoted": "has a test of its own, tests/test_failover.py",
    "server clock stepped": "has a test of its own, tests/test_server_clock.py",
}


def impossible(world: World) -> list[str]:
    """The kinds that this machine does not allow, and why."""
    without_root = "only root may, and not in every container"
    return [
        f"{kind}: {why}"
        for kind, why, there_is in (
            ("disk full", f"no volume could be mounted ({without_root})", world.volume),
            ("network walled off", f"no namespace could be made ({without_root})", world.wall),
            ("memory used up", f"no cgroup could be made ({without_root})", Hunger.is_possible()),
            ("everything behind a pooler", "pgbouncer is not installed", world.pooler),
        )
        if not there_is
    ]


def _weather(world: World, weather: Weather, seconds: float) -> Iterator[Harm]:
    if world.network.weather is not Weather.FAIR:
        raise Missed
    world.network.weather = weather
    yield Harm(seconds, _behind(world, "network"))
    world.network.clear()


def _doom(world: World, way: Literal["ask", "answer"]) -> Iterator[Harm]:
    if world.network.doomed is not None:
        raise Missed
    world.network.doomed = way
    yield Harm(1.0)


def _behind(world: World, what: str) -> tuple[str, ...]:
    """Those who stand behind it, hired meanwhile or not."""
    return tuple(hand.name for hand in world.crew.hands if hand.post.behind == what) or NOBODY


def _one(connection: psycopg.Connection[Any], role: str) -> int:
    row = connection.execute(
        "SELECT pid FROM pg_stat_activity WHERE application_name LIKE %s"
        " AND datname = current_database() ORDER BY random() LIMIT 1",
        [role],
    ).fetchone()
    if row is None:
        raise Missed
    return int(row[0])


def _run(world: World, statement: str) -> None:
    with suppress(psycopg.Error, Missed), world.connect(options="") as connection:
        connection.execute("SET lock_timeout = '10s'")
        connection.execute("SET statement_timeout = '25s'")
        connection.execute(statement.encode())


def _insist(world: World, statement: sql.Composed) -> None:
    """Run it, whatever else is broken at present."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(psycopg.Error, Missed), world.connect(options="-c statement_timeout=9s") as c:
            c.execute(statement)
            return
        time.sleep(0.2)
    raise AssertionError(f"could not undo a fault: {statement!r}")


def _tell(pooler: Pooler, command: str) -> None:
    with suppress(psycopg.Error):
        pooler.tell(command)
