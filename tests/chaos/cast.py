"""The processes of a run that are not workers: those who enqueue, and those who look on."""

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.command import environment
from tests.postgres import dsn_with


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
