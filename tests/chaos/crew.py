"""The worker processes of a run: hired, ended in every way, and replaced."""

import contextlib
import json
import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.handlers import HOME, PROCESS
from tests.chaos.logbook import Logbook, now
from tests.command import environment
from tests.postgres import dsn_with
from tests.process import BOOT, ORDER, WorkerProcess, running
from tests.skewed import SKEW

LEASE = 5.0
RESCUE_EVERY = 1.0
GRACE = 3.0
RESCUE = LEASE + RESCUE_EVERY + (LEASE / 3 + 2) + 3
"""Seconds by which the jobs of a dead worker are back: the lease, the rescuer's interval, its
patience with a connection that is new, and what a busy machine takes."""
MODULE = "tests.chaos.handlers:tasks"


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """A place for one worker."""

    name: str
    dsn: str
    behind: str = ""
    """``network``, ``pooler`` or ``wall``, if something stands between it and the server."""
    prefix: tuple[str, ...] = ()
    """What its command begins with."""
    settings: dict[str, Any] = field(default_factory=dict)
    processes: int = 1
    skew: float = 0.0
    is_lasting: bool = True
    """Whether it is filled again."""


class Hand:
    """A worker at its post."""

    def __init__(self, post: Post, name: str, process: WorkerProcess) -> None:
        self.post = post
        self.name = name
        self.process = process
        self.frozen: set[int] = set()
        self.told_at: float | None = None
        self.is_doomed = False
        """Whether a fault ends it, so that how it ends says nothing."""

    def everyone(self) -> set[int]:
        return {self.process.pid, *self.process.family()}

    def send(self, number: signal.Signals, pids: set[int]) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    @property
    def is_idle_prey(self) -> bool:
        """Whether it runs, and no other fault has hold of it."""
        return (
            self.process.exit_code is None
            and not self.frozen
            and self.told_at is None
            and not self.is_doomed
        )


class Crew:
    """Keeps every post filled until it is told to stop."""

    def __init__(self, home: Path, book: Logbook) -> None:
        self._home = home
        self._book = book
        self._hired = 0
        self.hands: list[Hand] = []
        self.past: list[Hand] = []
        self.surprises: list[str] = []
        """Workers that ended when nobody had told them to."""

    def hire(self, post: Post) -> Hand:
        self._hired += 1
        name = f"{post.name}.{self._hired}"
        durations = {"lease": LEASE, "rescue_every": RESCUE_EVERY, "poll": 0.5, "grace": GRACE}
        order = {
            "tasks": MODULE,
            "processes": post.processes,
            "settings": {**durations, **post.settings},
        }
        if post.behind == "pooler":
            dsn = dsn_with(post.dsn, application_name=f"pgqueue@{name}")
        else:
            dsn = dsn_with(post.dsn, options=f"-c chaos.process={name}")
        more = {
            ORDER: json.dumps(order),
            SKEW: str(post.skew),
            HOME: str(self._home),
            PROCESS: name,
        }
        if post.behind == "wall":  # a network, if only in name: nobody else is on it
            more["PGQUEUE_REQUIRE_TLS"] = "0"
        process = WorkerProcess(
            [*post.prefix, *BOOT], environment(dsn, more), self._home / f"{name}.log"
        )
        hand = Hand(post, name, process)
        self.hands.append(hand)
        return hand

    def keep_up(self) -> None:
        """Fill the posts whose workers ended."""
        for hand in [hand for hand in self.hands if hand.process.exit_code is not None]:
            self._see_off(hand)
            if hand.post.is_lasting:
                self.hire(hand.post)

    def prey(self, behind: str | None = None) -> list[Hand]:
        return [
            hand for hand in self.hands if hand.is_idle_prey and behind in (None, hand.post.behind)
        ]

    def thaw(self, hand: Hand) -> None:
        hand.send(signal.SIGCONT, hand.frozen)
        hand.frozen = set()

    def tell(self, hand: Hand) -> None:
        """Ask it to stop; how long it takes is logged when it has."""
        hand.told_at = time.monotonic()
        hand.process.terminate()

    def stop(self) -> None:
        """End all, cleanly; return when the last is gone."""
        for hand in self.hands:
            self.thaw(hand)
            if hand.told_at is None:
                self.tell(hand)
        deadline = time.monotonic() + GRACE + 30
        while self.hands and time.monotonic() < deadline:
            for hand in [hand for hand in self.hands if hand.process.exit_code is not None]:
                self._see_off(hand)
            time.sleep(0.02)
        for hand in self.hands:
            self.surprises.append(f"{hand.name} did not end by itself")

    def discard(self) -> None:
        """End whatever is left of what was started here."""
        alive = running({pid for hand in self.past for pid in hand.process.family_seen})
        left = [hand for hand in self.past if alive & hand.process.family_seen]
        for hand in [*self.hands, *left]:
            hand.send(signal.SIGCONT, running(hand.frozen))
            hand.process.discard()

    def _see_off(self, hand: Hand) -> None:
        self.hands.remove(hand)
        self.past.append(hand)
        code = hand.process.exit_code
        if hand.told_at is not None:
            took = time.monotonic() - hand.told_at
            self._book.write(
                "shutdown", process=hand.name, seconds=took, allowed=GRACE + 5.5, at=now()
            )
        # Told before it had begun, and ready to be: it had nothing to give back.
        stillborn = hand.told_at is not None and code == -signal.SIGTERM and not hand.process.log
        if not hand.is_doomed and not stillborn and (hand.told_at is None or code != 0):
            self.surprises.append(f"{hand.name} ended with exit code {code}")
