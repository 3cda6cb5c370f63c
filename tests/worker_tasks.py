"""Tasks for workers that are real processes, and the journal and gates by which a test follows and
steers them.

What a handler does is noted in a file, one line a write: it is there even if the process dies in
the next instruction, if the database is down, or if the job's transaction is rolled back.
"""

import asyncio
import contextlib
import os
import resource
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
from psycopg import AsyncConnection, IsolationLevel

from pgqueue import Context, Exponential, Tasks, current_job
from pgqueue.worker.clock import boottime

JOURNAL = "PGQUEUE_TEST_JOURNAL"
"""The environment variable that names the journal's directory."""
DATABASE = "PGQUEUE_TEST_APPLICATION_DSN"
"""The environment variable with the DSN of the application that the tasks belong to."""


class Entry(NamedTuple):
    """One thing that an attempt did."""

    what: str
    job: int
    attempt: int
    pid: int
    at: float
    """When, by the clock that all processes of a machine share."""


class Journal:
    """What handlers did, in the order in which they did it; and gates that a test opens for
    them."""

    def __init__(self, home: Path) -> None:
        self._home = home

    @classmethod
    def of_the_environment(cls) -> "Journal":
        return cls(Path(os.environ[JOURNAL]))

    def note(self, what: str, context: Context) -> None:
        line = f"{what} {context.id} {context.attempt} {os.getpid()} {boottime()}\n"
        file = os.open(self._home / "entries", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(file, line.encode())
        finally:
            os.close(file)

    def entries(self, what: str = "start", job: int | None = None) -> list[Entry]:
        """Return the entries of this kind, of one job or of all."""
        with contextlib.suppress(FileNotFoundError):
            lines = (self._home / "entries").read_text().splitlines()
            return [
                entry
                for entry in map(_parse, lines)
                if entry.what == what and job in (None, entry.job)
            ]
        return []

    def open_gate(self, name: str) -> None:
        """Let everything on that waits, or will wait, for this gate."""
        (self._home / f"gate.{name}").touch()

    def is_open(self, gate: str) -> bool:
        return (self._home / f"gate.{gate}").exists()


def _parse(line: str) -> Entry:
    what, job, attempt, pid, at = line.split()
    return Entry(what, int(job), int(attempt), int(pid), float(at))


def note(what: str) -> None:
    """Note what the job that is running here does."""
    Journal.of_the_environment().note(what, current_job())


async def pass_gate(gate: str) -> None:
    """Wait until *gate* is open, whatever the attempt, or for this attempt."""
    while not _is_open(gate):
        await asyncio.sleep(0.01)


def pass_gate_in_thread(gate: str, unless: Callable[[], bool] = lambda: False) -> None:
    """Wait until *gate* is open or something else happened."""
    while not _is_open(gate) and not unless():
        time.sleep(0.01)


def _is_open(gate: str) -> bool:
    journal = Journal.of_the_environment()
    return journal.is_open(gate) or journal.is_open(f"{gate}.{current_job().attempt}")


@contextlib.asynccontextmanager
async def application_connection() -> AsyncIterator[AsyncConnection[Any]]:
    """A connection of the application's, at the isolation level that the job's metadata names."""
    connection = await AsyncConnection.connect(os.environ[DATABASE], application_name="application")
    try:
        level = current_job().metadata.get("isolation", "READ_COMMITTED")
        await connection.set_isolation_level(IsolationLevel[level])
        yield connection
    finally:
        await connection.close()


tasks = Tasks(transaction=application_connection)


@tasks.task("quick")
async def quick() -> None:
    note("start")


@tasks.task("work", timeout=120)
async def work(seconds: float) -> None:
    note("start")
    await asyncio.sleep(seconds)
    note("end")


@tasks.task("work-in-thread")
def work_in_thread(seconds: float) -> None:
    note("start")
    time.sleep(seconds)
    note("end")


@tasks.task("wait", timeout=300)
async def wait(gate: str) -> str:
    """Wait for the gate; notes it when it is ended before."""
    note("start")
    try:
        await pass_gate(gate)
    except asyncio.CancelledError:
        note("cancelled")
        raise
    note("end")
    return gate


@tasks.task("wait-in-thread", timeout=300)
def wait_in_thread(gate: str) -> None:
    """Wait for the gate, deaf to everything else."""
    note("start")
    pass_gate_in_thread(gate)
    note("end")


@tasks.task("heed-in-thread", timeout=300)
def heed_in_thread(ctx: Context, gate: str) -> None:
    """Wait for the gate or for a request to stop."""
    note("start")
    pass_gate_in_thread(gate, unless=lambda: ctx.cancelled)
    note("saw-cancelled" if ctx.cancelled else "end")
    ctx.check_cancelled()


@tasks.task("effect", transactional=True, timeout=300, max_attempts=20)
async def effect(ctx: Context, gate: str) -> None:
    """Write a row of the application's, then wait; the transaction finishes the job as well."""
    note("start")
    await ctx.connection.execute("INSERT INTO effects VALUES (%s, %s)", (ctx.id, ctx.attempt))
    await pass_gate(gate)


@tasks.task("effect-for-a-while", transactional=True, timeout=300, max_attempts=20)
async def effect_for_a_while(ctx: Context, seconds: float) -> None:
    note("start")
    await ctx.connection.execute("INSERT INTO effects VALUES (%s, %s)", (ctx.id, ctx.attempt))
    await asyncio.sleep(seconds)


@tasks.task("import-items", transactional=True, max_crashes=100)
async def import_items(ctx: Context, items: list[int], chunk_index: int, total_chunks: int) -> None:
    """Write the items into the application's table, commit with the job's completion."""
    note("start")
    await ctx.connection.execute(
        "INSERT INTO imported SELECT item, %s FROM unnest(%s::int[]) AS item", (ctx.id, items)
    )
    await asyncio.sleep(0.1)


@tasks.task("told")
async def told(what: str) -> None:
    note(f"told-{what}-{current_job().batch_id}")


@tasks.task("fail-at-first", max_attempts=1)
async def fail_at_first(gate: str) -> None:
    """Fail until the gate is open."""
    note("start")
    if not _is_open(gate):
        raise ValueError("the gate is closed")


@tasks.task("clock")
def clock(ctx: Context) -> None:
    """Note the database's time of the start."""
    with psycopg.connect(os.environ[DATABASE], autocommit=True) as connection:
        connection.execute("INSERT INTO starts VALUES (%s, clock_timestamp())", (ctx.id,))


@tasks.task("fail", max_attempts=3, backoff=Exponential(base=2, max_delay=60, jitter=0))
async def fail() -> None:
    note("start")
    raise ValueError("as always")


def abort() -> None:
    """End this process as a fatal bug in a C extension does."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.abort()


@tasks.task("abort")
async def abort_on_the_loop() -> None:
    note("start")
    abort()


@tasks.task("abort-in-thread")
def abort_in_thread() -> None:
    note("start")
    abort()


@tasks.task("block", timeout=120)
async def block(seconds: float) -> None:
    """Block the event loop."""
    note("start")
    time.sleep(seconds)  # noqa: ASYNC251  the fault itself
    note("end")


@tasks.task("deaf", timeout=1, max_attempts=1)
async def deaf() -> None:
    """Swallow every cancellation, for ever."""
    note("start")
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()


@tasks.task("blocking", timeout=1, max_attempts=1)
async def blocking() -> None:
    """Block the event loop for ever."""
    note("start")
    while True:
        time.sleep(1)  # noqa: ASYNC251  the fault itself


@tasks.task("overrun", timeout=1, max_attempts=1)
def overrun(gate: str) -> None:
    """Outlive the timeout in a thread, until the gate opens."""
    note("start")
    pass_gate_in_thread(gate)
    note("end")


@tasks.task("abort-in-child", executor="process")
def abort_in_child() -> None:
    note("start")
    abort()


@tasks.task("wait-in-child", executor="process", timeout=300)
def wait_in_child(gate: str) -> None:
    note("start")
    pass_gate_in_thread(gate)
    note("end")


@tasks.task("overrun-in-child", executor="process", timeout=2, max_attempts=1)
def overrun_in_child() -> None:
    """Hold on to the interpreter, deaf to everything."""
    note("start")
    while True:
        pass


few = Tasks()
"""What an older release of the application knows: not much."""


@few.task("quick")
async def old_quick() -> None:
    note("start")
