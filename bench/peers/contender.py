"""One peer in one round: its processes, started and stopped, and what was counted of them."""

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from bench.counters import DIRECTORY, STARTS, Counters
from bench.failure import Void, require
from bench.peers.environments import ROOT, Environment
from bench.peers.registry import Peer
from bench.peers.stores import Store
from bench.usage import Usage
from bench.waiting import until

_PATIENCE = 300


class Drained(NamedTuple):
    seconds: float
    """From the first call of a handler until the store has no job that is not over."""
    used: Usage
    """The log from before the workers started; CPU from the first call on, for an interpreter that
    starts is not a job."""


class Contender:
    """A peer, its environment and its store."""

    def __init__(self, peer: Peer, environment: Environment, store: Store) -> None:
        self.peer = peer
        self.version = environment.version
        self.store = store
        self._environment = environment

    def reset(self) -> None:
        """An empty store with the peer's schema."""
        self.store.empty()
        self._do("install")

    def bulk(self, jobs: int) -> tuple[float, float, Usage]:
        """Enqueue *jobs*; return the seconds, the client's CPU seconds, and what the store used."""
        before = self.store.usage([])
        answer = self._do("bulk", jobs)
        used = self.store.usage([]).since(before)
        return answer["seconds"], answer["cpu"], used

    def single(self, each: int, connections: int) -> float:
        """Enqueue *each* jobs, one a commit, on each of so many connections; return the seconds."""
        return float(self._do("single", each, connections)["seconds"])

    def drain(self, jobs: int, workers: int) -> Drained:
        """Run the *jobs* that wait. Raises :class:`Void` unless each was run, once."""
        wal = self.store.usage([]).wal  # what is claimed before the first call is written, too
        with self._workers(workers, starts=False) as (counters, pids):
            until(lambda: counters.calls, f"{self.peer.name} to begin", within=60)
            at_first = counters.read()
            before = self.store.usage(pids)._replace(wal=wal)
            until(
                lambda: counters.calls >= jobs, f"{self.peer.name}'s {jobs} jobs", within=_PATIENCE
            )
            until(self.store.is_done, f"{self.peer.name}'s last outcomes")
            seconds = (time.monotonic_ns() - at_first.first) / 1e9
            used = self.store.usage(pids).since(before)
            time.sleep(0.2)  # a job that was given to two would be counted by now
            require(counters.calls == jobs, f"{counters.calls} handler calls for {jobs} jobs")
        require(self.store.is_done(), "not every job was over when the workers had stopped")
        return Drained(seconds, used)

    def latencies(self, probes: int) -> list[float]:
        """Milliseconds from the committed enqueue to the start of each of *probes* jobs."""
        with self._workers(1, starts=True) as (counters, _):
            self.single(0, 1)  # one job, so that the worker is known to be there
            until(lambda: counters.calls == 1, f"{self.peer.name} to begin", within=60)
            time.sleep(1)
            committed = self._do("probe", probes)
            until(lambda: counters.calls == probes + 1, "the probes to start")
            until(self.store.is_done, "the last outcomes")
            started = counters.starts()
            require(len(started) == probes + 1, f"{len(started) - 1} of {probes} probes were run")
        return [max(started[n] - moment, 0) / 1e6 for n, moment in enumerate(committed, 1)]

    @contextmanager
    def _workers(self, count: int, *, starts: bool) -> Iterator[tuple[Counters, list[int]]]:
        with tempfile.TemporaryDirectory() as directory:
            log = Path(directory, "log")
            variables = self._variables() | {DIRECTORY: directory}
            variables |= {STARTS: "1"} if starts else {}
            with log.open("ab") as output:
                running = [
                    subprocess.Popen(
                        [*self._environment.command, "work"],
                        cwd=ROOT,
                        env=variables,
                        stdout=output,
                        stderr=output,
                        start_new_session=True,
                    )
                    for _ in range(count)
                ]
            try:
                yield Counters(Path(directory)), [process.pid for process in running]
            except Void as problem:
                last = _last_line(log.read_text(errors="replace"))
                raise Void(f"{problem}; the workers said: {last}") from problem
            finally:
                for process in running:
                    _stop(process)

    def _do(self, *words: object) -> Any:
        """Run one command of the adapter; return its answer."""
        done = subprocess.run(
            [*self._environment.command, *map(str, words)],
            cwd=ROOT,
            env=self._variables(),
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
        )
        if done.returncode:
            raise Void(f"{self.peer.name} {words[0]}: {_last_line(done.stderr)}")
        lines = [line for line in done.stdout.splitlines() if line[:1] in "{["]
        return json.loads(lines[-1]) if lines else None

    def _variables(self) -> dict[str, str]:
        return {**os.environ, **self._environment.variables, "BENCH_DSN": self.store.dsn}


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "nothing"


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """Ask the worker to end, and after some seconds end its whole group."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(10)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
