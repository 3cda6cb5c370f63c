"""The processes of one run: the one that is harmed, and the sound worker that finishes what there
is."""

import json
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psycopg

from tests.chaos.logbook import Entry, Logbook, now, read
from tests.failpoints import work as script
from tests.failpoints.actor import (
    GRACE,
    LEASE,
    Actor,
    apply,
    work,
    work_past_slow_heads,
)
from tests.failpoints.saboteur import HANGS, STRIKES, Strike
from tests.postgres import dsn_with

WORKERS = {"worker": work, "worker past slow heads": work_past_slow_heads}
WITHIN = 90.0
"""Seconds within which everything must be over, once the harm is done."""
ENDS_WITHIN = GRACE + 5.5
SLACK = 10.0
"""Seconds for a machine that has more to do."""
STOPPED = 2 * LEASE
EXIT_BUG = 70

_LEFT = """
SELECT (SELECT count(*) FROM pgqueue.jobs WHERE state <> 'dead')
    + (SELECT count(*) FROM pgqueue.batches WHERE completed_at IS NULL)
    + (SELECT count(*) FROM pgqueue.batch_outcomes)
"""
_SESSIONS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


@dataclass(frozen=True, slots=True)
class Cell:
    """Who is harmed: one of ``WORKERS``, or an application by its kind of connection; and how. The
    strikes come one after the other."""

    who: str
    strikes: tuple[Strike, ...] = ()
    children: bool = False
    """Whether a worker has jobs for process children, too."""

    def __str__(self) -> str:
        return ", then ".join(map(str, self.strikes)) or f"{self.who}, unharmed"


class Stuck(Exception):
    """Something did not come about in time."""


class Scene:
    """The processes of one run, on one database."""

    def __init__(self, cell: Cell, dsn: str, home: Path, stack: ExitStack) -> None:
        self.cell = cell
        self._dsn = dsn
        self._home = home
        self._book = Logbook(home, "harness", durable=False)
        stack.callback(self._book.close)
        self._stack = stack
        self._connection: psycopg.Connection[Any] | None = None
        self._actors: list[Actor] = []
        self._freed = 0
        self.problems: list[str] = []

    def play(self) -> None:
        with psycopg.connect(self._dsn) as connection:
            connection.execute("SELECT pgqueue.adopt()")
            connection.commit()
            if self.cell.who in WORKERS:
                script.for_a_worker(connection, self._home, children=self.cell.children)
        if self.cell.who in WORKERS:
            self._play_worker(WORKERS[self.cell.who])
        else:
            self._play_application()

    @property
    def strikes(self) -> list[Entry]:
        path = self._home / f"{STRIKES}.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) for line in lines]

    @property
    def passed(self) -> dict[str, int]:
        passed: dict[str, int] = {}
        for entry in read(self._home):
            if entry["what"] == "passed":
                passed[entry["point"]] = max(passed.get(entry["point"], 0), entry["passage"])
        return passed

    def _play_worker(self, play: Callable[[str], int]) -> None:
        victim = self._act("victim", play, self.cell.strikes)
        self._until(
            lambda: self._struck() or victim.exit_code is not None or not self._left(),
            "the work was not done, and no strike came",
        )
        told_at = None
        if not self._struck():
            # It may be a point that only a worker passes that stops.
            self._give_it_no_rest(victim)
            told_at = self._tell(victim)
            self._until(
                lambda: self._struck() or victim.exit_code is not None, "the victim did not stop"
            )
        sound = self._act("sound", work)
        self._release(victim)
        if told_at is None:
            self._settle(victim)
            self._release(victim)
            told_at = self._tell(victim)
        self._see_off(victim, told_at)
        self._drain(sound)
        self._see_off(sound, self._tell(sound))

    def _play_application(self) -> None:
        sound = self._act("sound", work)
        play = partial(apply, self.cell.who)
        victim = self._act("victim", play, self.cell.strikes)
        self._until(lambda: self._struck() or victim.exit_code is not None, "the application hangs")
        self._release(victim)
        self._until(lambda: victim.exit_code is not None, "the application hangs after the harm")
        if victim.exit_code != 0:
            if self.actions not in ({"kill"}, {"bug"}):
                self.problems.append(f"the application ended with {victim.exit_code}")
            again = self._act("again", play)
            self._until(lambda: again.exit_code is not None, "the second application hangs")
            if again.exit_code != 0:
                self.problems.append(f"the second application ended with {again.exit_code}")
        self._drain(sound)
        self._see_off(sound, self._tell(sound))

    def _give_it_no_rest(self, victim: Actor) -> None:
        with psycopg.connect(self._dsn) as connection:
            job = script.for_its_last_moments(connection, self._home)
        running = f"SELECT 1 FROM pgqueue.jobs WHERE id = {job} AND state = 'running'"  # noqa: S608
        self._until(
            lambda: self._sql(running) or self._struck() or victim.exit_code is not None,
            "the last job was not begun",
        )

    def _settle(self, victim: Actor) -> None:
        """Have the harmed one live on beside the sound one until the work is done."""
        self._until(
            lambda: victim.exit_code is not None or not self._left() or victim.is_stopped,
            "the work was not done beside the harmed worker",
        )

    def _release(self, victim: Actor) -> None:
        """Log what was done; let a stopped process go on after two leases."""
        for strike in self.strikes[self._freed :]:
            self._freed += 1
            lasts = {"stop": STOPPED, "hang": HANGS}.get(strike["action"], 0.0)
            if strike["action"] == "kill":
                self._until(lambda: victim.exit_code is not None, "the killed process lives")
            if strike["action"] == "stop":
                self._until(lambda: victim.is_stopped, "the process did not stop")
                time.sleep(lasts)  # the fault itself
                victim.send(signal.SIGCONT)
                lasts = now() - strike["at"]
            self._book.write(
                "fault",
                kind="worker killed" if strike["action"] == "kill" else strike["action"],
                targets=[victim.name],
                began=strike["at"],
                ended=strike["at"] + lasts,
            )

    def _act(
        self,
        name: str,
        play: Callable[[str], int],
        strikes: tuple[Strike, ...] | None = None,
    ) -> Actor:
        self._disconnect()
        dsn = dsn_with(self._dsn, options=f"-c chaos.process={name}")
        actor = Actor(name, self._home, dsn, play, strikes)
        self._actors.append(actor)
        self._stack.callback(actor.discard)
        return actor

    def abandon(self) -> None:
        """End by force whatever goes on."""
        for actor in self._actors:
            actor.kill()

    def _tell(self, actor: Actor) -> float:
        """Ask it to stop."""
        actor.send(signal.SIGTERM)
        return time.monotonic()

    def _see_off(self, actor: Actor, told_at: float) -> None:
        """Wait for its end; it must be a clean one, and in time, unless it was harmed meanwhile."""
        while actor.exit_code is None:
            if time.monotonic() > told_at + WITHIN:
                raise Stuck(f"{actor.name} did not end")
            self._release(actor)
            time.sleep(0.02)
        self._release(actor)
        allowed = {0} | ({-9, EXIT_BUG} if actor.name == "victim" else set())
        actions = self.actions
        if actor.name == "victim":
            allowed -= set() if "kill" in actions else {-9}
            allowed -= set() if "bug" in actions else {EXIT_BUG}
        if actor.exit_code not in allowed:
            self.problems.append(f"{actor.name} ended with {actor.exit_code}")
        self._book.write(
            "shutdown",
            process=actor.name,
            seconds=time.monotonic() - told_at,
            allowed=ENDS_WITHIN + SLACK + (HANGS if actor.name == "victim" else 0),
            at=now(),
        )

    def _drain(self, sound: Actor) -> None:
        """Let the sound worker, which declares a schedule when it starts, finish everything."""

        def is_drained() -> bool:
            self._sql("UPDATE pgqueue.schedules SET enabled = false WHERE enabled")
            known = self._sql("SELECT 1 FROM pgqueue.workers WHERE pid = %s", sound.pid)
            return bool(known) and not self._left()

        self._until(is_drained, "the sound worker did not finish everything")

    def wait_until_all_are_gone(self) -> None:
        """Wait until the server has seen the end of every session."""
        self._until(lambda: not self._sql(_SESSIONS)[0][0], "sessions are left")

    @property
    def actions(self) -> set[str]:
        """What was done."""
        return {strike["action"] for strike in self.strikes}

    def _struck(self) -> bool:
        return len(self.strikes) > self._freed

    def _left(self) -> int:
        """How much is to be done."""
        return int(self._sql(_LEFT)[0][0])

    def _sql(self, statement: str, *params: Any) -> list[tuple[Any, ...]]:
        if self._connection is None:
            self._connection = psycopg.connect(self._dsn, autocommit=True)
            self._stack.callback(self._disconnect)
        cursor = self._connection.execute(statement, params or None)
        return cursor.fetchall() if cursor.description else []

    def _disconnect(self) -> None:
        """Whoever is forked must not share a connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _until(self, condition: Callable[[], object], problem: str) -> None:
        deadline = time.monotonic() + WITHIN
        while not condition():
            if time.monotonic() > deadline:
                raise Stuck(f"{problem} within {WITHIN:.0f} s")
            time.sleep(0.03)
