"""The tasks that are measured. Each counts its calls."""

import asyncio
import os
import time
from pathlib import Path

from bench.counters import DIRECTORY, count
from pgqueue import Tasks

tasks = Tasks()


@tasks.task("noop")
async def noop(user_id: int, template: str, pad: str) -> None:
    count(user_id)


@tasks.task("wait")
async def wait(number: int, seconds: float) -> None:
    """I/O: the time passes elsewhere."""
    count(number)
    await asyncio.sleep(seconds)


@tasks.task("burn-thread")
def burn_thread(number: int, loops: int) -> None:
    """CPU work in a thread of the worker."""
    count(number)
    burn(loops)


@tasks.task("burn-child", executor="process")
def burn_child(number: int, loops: int) -> None:
    """CPU work in a child process of the worker."""
    count(number)
    burn(loops)


@tasks.task("hold", timeout=None)
async def hold(number: int) -> None:
    """Takes a slot until the bench lets go."""
    count(number)
    while not release_file(os.environ[DIRECTORY]).exists():  # noqa: ASYNC110  another process's
        await asyncio.sleep(0.05)


def release_file(directory: str) -> Path:
    return Path(directory, "release")


def burn(loops: int) -> float:
    """Occupy one CPU; return the seconds it took."""
    begun = time.perf_counter()
    number = 0
    for _ in range(loops):
        number = (number * 1103515245 + 12345) % 2147483648
    return time.perf_counter() - begun
