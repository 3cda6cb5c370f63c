"""Workers as real processes: started with any settings, followed through their journal, their log
and the database, and never left behind."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import psycopg

import pgqueue
from pgqueue.worker import Settings
from pgqueue.worker.logs import configure
from pgqueue.worker.main import run
from tests.command import MAIN, environment
from tests.skewed import SKEW
from tests.worker_tasks import DATABASE, JOURNAL, Journal

TASKS = "tests.worker_tasks:tasks"
ORDER = "PGQUEUE_TEST_ORDER"
BOOT = [sys.executable, "-c", "import tests.skewed; from tests.process import main; main()"]
_DURATIONS = {"lease", "rescue_every", "poll", "grace"}


def main() -> None:
    """In the new process: run the worker that the environment orders."""
    order = json.loads(os.environ[ORDER])
    configure(order.get("log_format", "text"))
    settings = {
        name: timedelta(seconds=value) if name in _DURATIONS else value
        for name, value in order["settings"].items()
    }
    sys.exit(
        run(
            order["tasks"],
            os.environ["PGQUEUE_DSN"],
            Settings(**settings),
            processes=order["processes"],
        )
    )


class WorkerProcess:
    """``pgqueue worker`` as a process of its own. Its log goes to a file."""

    def __init__(
        self, command: Sequence[str], env: dict[str, str], log: Path, cwd: Path | None = None
    ) -> None:
        self._log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        self._family: set[int] = set()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def terminate(self) -> None:
        self.signal(signal.SIGTERM)

    def freeze(self) -> None:
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill it, and nothing but it; return when it is gone."""
        self._process.kill()
        self._process.wait()

    def wait(self, within: float) -> int:
        """Wait until it ends by itself; return its exit code."""
        try:
            return self._process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still runs after {within} s:\n{self.log}") from None

    def family(self) -> set[int]:
        """The processes below this one."""
        found = descendants(self.pid)
        self._family |= found
        return found

    def discard(self) -> None:
        """End it and all that it was seen to have started."""
        if self.exit_code is None:
            self.family()
            self.kill()
        for pid in running(self._family):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


class Stage:
    """A database, workers on it, and what is seen of them from outside."""

    def __init__(self, dsn: str, home: Path) -> None:
        self.dsn = dsn
        self.journal = Journal(home)
        self._home = home
        self._workers: list[WorkerProcess] = []
        self._connection: psycopg.Connection[Any] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.discard()
        if self._connection is not None:
            self._connection.close()

    def start(
        self,
        *,
        tasks: str = TASKS,
        processes: int = 1,
        skew: float = 0,
        more: dict[str, str] | None = None,
        log_format: str = "text",
        **settings: Any,
    ) -> WorkerProcess:
        """Start a worker; durations are in seconds. Its clock is off by *skew*; *more*: what else
        its environment has."""
        order = {
            "tasks": tasks,
            "processes": processes,
            "log_format": log_format,
            "settings": settings,
        }
        given = {ORDER: json.dumps(order), SKEW: str(skew)}
        return self._start(BOOT, {**given, **(more or {})})

    def command(self, *words: str, tasks: str = TASKS, cwd: Path | None = None) -> WorkerProcess:
        """Start a worker by its command line."""
        return self._start([*MAIN, "worker", tasks, *words], {}, cwd)

    def ready(self, *workers: WorkerProcess) -> None:
        """Wait until these workers claim jobs."""
        for worker in workers:
            self.until(lambda worker=worker: self.rows_of(worker))

    def rows_of(self, worker: WorkerProcess) -> list[str]:
        """The ids under which the processes of this worker are known to be alive."""
        pids = [worker.pid, *worker.family()]
        return [
            row[0]
            for row in self.sql("SELECT id::text FROM pgqueue.workers WHERE pid = ANY(%s)", pids)
        ]

    def sql(self, statement: str, *params: Any) -> list[tuple[Any, ...]]:
        """Run a statement, and commit."""
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(self.dsn, autocommit=True)
        cursor = self._connection.execute(statement, params or None)
        return cursor.fetchall() if cursor.description else []

    def disconnect(self) -> None:
        """Let go of the connection; the next statement opens another."""
        if self._connection is not None:
            self._connection.close()

    def value(self, statement: str, *params: Any) -> Any:
        """The one value that a statement returns."""
        ((value,),) = self.sql(statement, *params)
        return value

    def enqueue(self, *jobs: pgqueue.NewJob) -> list[int]:
        """Enqueue in one transaction; return the ids."""
        with psycopg.connect(self.dsn) as connection:
            return [each.id for each in pgqueue.enqueue_many(connection, jobs)]

    def job(self, job_id: int) -> Any:
        """The job as the database knows it, over or not."""
        with psycopg.connect(self.dsn, row_factory=psycopg.rows.namedtuple_row) as connection:
            return connection.execute(
                "SELECT * FROM pgqueue.all_jobs WHERE id = %s", [job_id]
            ).fetchone()

    def state(self, job_id: int) -> str:
        return str(self.value("SELECT state FROM pgqueue.all_jobs WHERE id = %s", job_id))

    def states(self) -> dict[str, int]:
        """How many jobs there are in each state."""
        return dict(self.sql("SELECT state, count(*) FROM pgqueue.all_jobs GROUP BY state"))

    def unfinished(self) -> int:
        """How many jobs are still to be run."""
        return int(self.value("SELECT count(*) FROM pgqueue.jobs WHERE state <> 'dead'"))

    def attempts(self, job_id: int) -> list[tuple[int, str]]:
        """The attempts that did not succeed, and what became of each."""
        return self.sql(
            "SELECT attempt, outcome FROM pgqueue.attempts WHERE job_id = %s ORDER BY attempt",
            job_id,
        )

    def started(self, job_id: int) -> list[tuple[int, int]]:
        """The attempts of the job that were begun, and in which process."""
        return [(entry.attempt, entry.pid) for entry in self.journal.entries("start", job_id)]

    def until(self, condition: Callable[[], object], *, within: float = 60.0) -> None:
        """Wait for *condition*; show the logs if it does not come about within so many seconds."""
        deadline = time.monotonic() + within
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"not so within {within} s; {self._seen()}")
            time.sleep(0.02)

    def until_started(self, *job_ids: int, attempt: int = 1) -> None:
        """Wait until these jobs run."""
        self.until(
            lambda: all(attempt in [number for number, _ in self.started(each)] for each in job_ids)
        )

    def until_state(self, job_id: int, state: str, *, within: float = 60.0) -> None:
        self.until(lambda: self.state(job_id) == state, within=within)

    def until_drained(self, *, within: float = 60.0) -> None:
        """Wait until every job is over, or dead."""
        self.until(lambda: not self.unfinished(), within=within)

    def _start(
        self, command: Sequence[str], more: dict[str, str], cwd: Path | None = None
    ) -> WorkerProcess:
        given = {JOURNAL: str(self._home), DATABASE: self.dsn, **more}
        log = self._home / f"worker-{len(self._workers) + 1}.log"
        worker = WorkerProcess(command, environment(self.dsn, given), log, cwd)
        self._workers.append(worker)
        return worker

    def _seen(self) -> str:
        logs = [f"worker {each.pid}, exit {each.exit_code}:\n{each.log}" for each in self._workers]
        with contextlib.suppress(psycopg.Error):
            logs.insert(0, f"jobs: {self.states()}")
        return "\n".join(logs)


def running(pids: set[int]) -> set[int]:
    """Those of *pids* that run; a zombie does not."""
    return {pid for pid, _, state in _processes() if pid in pids and not state.startswith("Z")}


def descendants(pid: int) -> set[int]:
    """The processes below *pid*."""
    children: dict[int, list[int]] = {}
    for child, parent, _ in _processes():
        children.setdefault(parent, []).append(child)
    found: set[int] = set()
    unseen = [pid]
    while unseen:
        below = children.get(unseen.pop(), [])
        found.update(below)
        unseen.extend(below)
    return found


def _processes() -> Iterator[tuple[int, int, str]]:
    listing = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid=,stat="], capture_output=True, text=True, check=True
    ).stdout
    for line in listing.splitlines():
        pid, parent, state = line.split()
        yield int(pid), int(parent), state
