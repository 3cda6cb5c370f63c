"""Tasks for test_children.py: what handlers in process children do, and what happens to them."""

import contextlib
import contextvars
import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from psycopg.errors import SerializationFailure

from pgqueue.context import Context, current_job
from pgqueue.signals import Cancel
from pgqueue.tasks import Tasks

tasks = Tasks()
log = logging.getLogger("tests.child_tasks")
called: list[int] = []
seen: contextvars.ContextVar[int | None] = contextvars.ContextVar("seen", default=None)
logging.getLogger("tests.noisy").addHandler(logging.StreamHandler(sys.stdout))


@dataclass
class Visit:
    who: str
    at: datetime


@tasks.task("echo", executor="process")
def echo(visit: Visit) -> Visit:
    return visit


@tasks.task("pid", executor="process")
def pid() -> int:
    return os.getpid()


@tasks.task("large", executor="process")
def large(text: str) -> str:
    return text[::-1]


@tasks.task("fail", executor="process")
def fail(message: str) -> None:
    raise ValueError(message)


@tasks.task("conflicts", executor="process", max_attempts=1)
def conflicts(times: int) -> int:
    """Lose against other transactions so many times; return how often it was called."""
    called.append(current_job().id)
    if len(called) <= times:
        raise SerializationFailure
    return len(called)


@tasks.task("abort", executor="process")
def abort() -> None:
    os.abort()


@tasks.task("segfault", executor="process")
def segfault() -> None:
    ctypes.string_at(0)


@tasks.task("kill", executor="process")
def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@tasks.task("exit", executor="process")
def leave(status: int) -> None:
    os._exit(status)


@tasks.task("spin", executor="process")
def spin(ctx: Context) -> None:
    """Deaf: looks at nothing, and holds on to the interpreter."""
    ctx.log.info("running in %d", os.getpid())
    while True:
        pass


@tasks.task("freeze", executor="process")
def freeze(ctx: Context) -> None:
    """Holds the interpreter's lock in C code, so that no other thread of the child ever runs."""
    ctx.log.info("running in %d", os.getpid())
    ctypes.PyDLL(None).sleep(600)


@tasks.task("polite", executor="process")
def polite(ctx: Context) -> str:
    ctx.log.info("running in %d", os.getpid())
    while not ctx.cancelled:
        time.sleep(0.001)
    return f"stopped because {ctx.stop.why.value if ctx.stop.why else None}"


@tasks.task("give_up", executor="process")
def give_up(ctx: Context) -> None:
    ctx.log.info("running in %d", os.getpid())
    while not ctx.cancelled:
        time.sleep(0.001)
    raise Cancel("as you wish")


@tasks.task("signals", executor="process")
def signals() -> str:
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGTERM)
    return "alive"


@tasks.task("helper", executor="process")
def helper(ctx: Context) -> None:
    """Starts a program, and then never ends."""
    program = subprocess.Popen(["sleep", "600"])
    ctx.log.info("started %d", program.pid)
    while True:
        pass


@tasks.task("terminate", executor="process")
def terminate() -> int:
    """End a program that it started, as programs are ended."""
    program = subprocess.Popen(["sleep", "600"])
    program.terminate()
    return program.wait(10)


@tasks.task("orphan", executor="process")
def orphan() -> None:
    """Leaves a fork of itself behind, in a session of its own, and dies."""
    forked = os.fork()
    if forked == 0:
        os.setsid()
        log.warning("not heard by the parent, and does it no harm")
        time.sleep(600)
    log.warning("left behind: %d", forked)
    os.abort()


@tasks.task("fork", executor="process")
def fork() -> int:
    """Both sides return from the handler; only the child may answer for it."""
    forked = os.fork()
    if forked:
        os.waitpid(forked, 0)
    return os.getpid()


@tasks.task("descriptors", executor="process")
def descriptors() -> list[str]:
    names = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            names.append(os.readlink(f"/proc/self/fd/{name}").partition(":")[0])
    return names


@tasks.task("around", executor="process")
def around(ctx: Context) -> dict[str, Any]:
    """What a handler finds around itself."""
    before = seen.get()
    seen.set(ctx.id)
    return {
        "current": current_job() is ctx,
        "state": ctx.state,
        "before": before,
        "path": sys.path,
        "argv": sys.argv[1:],
        "stdin": sys.stdin.read(),
    }


@tasks.task("transact", executor="process")
def transact(ctx: Context) -> None:
    with ctx.transaction():
        pass


@tasks.task("allocate", executor="process")
def allocate() -> int:
    return len(bytearray(8 * 1024**3))


@tasks.task("hoard", executor="process")
def hoard() -> int:
    """Run out of memory in small pieces, so that nothing at all is left."""
    hoarded: list[list[int]] = []
    while True:
        hoarded.append([len(hoarded)] * 16)


@tasks.task("murmur", executor="process")
def murmur() -> None:
    """Log from a thread that belongs to no job."""
    thread = threading.Thread(target=log.info, args=("murmured",))
    contextvars.Context().run(thread.start)
    thread.join()


@tasks.task("talk", executor="process")
def talk(ctx: Context) -> None:
    print("printed", flush=True)
    log.debug("too low")
    logging.getLogger("tests.verbose").debug("low but wanted")
    logging.getLogger("tests.noisy").warning("once, please")
    ctx.log.info("by context")
    log.info("by %s", "hand", extra={"size": 3, "at": Path("somewhere")})
    try:
        raise KeyError("k")
    except KeyError:
        log.exception("with a traceback")


if "PGQUEUE_TEST_MISSING" in os.environ:
    del tasks._by_name[os.environ["PGQUEUE_TEST_MISSING"]]
