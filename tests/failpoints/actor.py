"""A worker or an application as a process of its own, forked from one that has imported all it
needs: a run takes seconds, and starting Python would be half of them."""

import ctypes
import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from tests.failpoints.saboteur import HOME, ORDERS, Saboteur, Strike
from tests.failpoints.seam import arm

LEASE = 2.0
RESCUE_EVERY = 0.3
GRACE = 2.0
TASKS = "tests.failpoints.tasks:tasks"
_FORK = multiprocessing.get_context("fork")
_PR_SET_PDEATHSIG = 1


class Actor:
    """A process that *play* is called in. Its log is a file in *home*."""

    def __init__(
        self,
        name: str,
        home: Path,
        dsn: str,
        play: Callable[[str], int],
        strikes: tuple[Strike, ...] | None = None,
    ) -> None:
        self.name = name
        self.log = home / f"{name}.log"
        environment = {
            "PGQUEUE_DSN": dsn,
            "PGQUEUE_CHAOS_HOME": str(home),
            "PGQUEUE_CHAOS_PROCESS": name,
            HOME: str(home),
        }
        if strikes is not None:
            environment[ORDERS] = json.dumps(strikes)
        self._process = _FORK.Process(target=_live, args=(environment, self.log, play))
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; that of a killed process is -9."""
        return self._process.exitcode

    @property
    def is_stopped(self) -> bool:
        """Whether SIGSTOP holds it."""
        with suppress(OSError):
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
        return False

    def send(self, number: signal.Signals) -> None:
        if self.exit_code is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it; return when it is gone."""
        self.send(signal.SIGKILL)
        self._process.join()

    def discard(self) -> None:
        self.kill()
        self._process.close()


def _live(environment: dict[str, str], log: Path, play: Callable[[str], int]) -> None:
    """In the new process."""
    die_with_parent()
    with log.open("ab") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    os.environ.update(environment)
    if ORDERS in os.environ:
        arm(Saboteur.of_the_environment())
    sys.exit(play(os.environ["PGQUEUE_DSN"]))


def die_with_parent() -> None:
    """Leave no process behind, however the harness ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def work(dsn: str) -> int:
    """Be a worker."""
    from pgqueue.worker import Settings
    from pgqueue.worker.logs import configure
    from pgqueue.worker.main import run

    configure()
    settings = Settings(
        queues={"default": 8, "children": 1},
        lease=timedelta(seconds=LEASE),
        rescue_every=timedelta(seconds=RESCUE_EVERY),
        poll=timedelta(seconds=0.2),
        grace=timedelta(seconds=GRACE),
    )
    return run(TASKS, dsn, settings)


def work_past_slow_heads(dsn: str) -> int:
    """Be a worker that takes the heads of its queues for slow, as beside an old snapshot."""
    from pgqueue.worker import cursors

    cursors._SLOW_US = cursors._SLOW_US_A_JOB = -1
    return work(dsn)


def apply(kind: str, dsn: str) -> int:
    """Be an application with this kind of connection."""
    from tests.failpoints.work import Enqueuer

    Enqueuer(dsn, Path(os.environ[HOME]), kind).run()
    return 0
