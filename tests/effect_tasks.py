"""Tasks that do something outside, in a file, for workers that are real processes."""

import os
import time
from pathlib import Path

from pgqueue import Context, Tasks
from tests.worker_tasks import JOURNAL, note, pass_gate_in_thread

tasks = Tasks()


def outside() -> Path:
    """The outside world: a line for each letter that went out."""
    return Path(os.environ[JOURNAL]) / "letters"


def send(line: str) -> None:
    file = os.open(outside(), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, f"{line}\n".encode())
    finally:
        os.close(file)


@tasks.task("send-letter", timeout=300, max_crashes=10)
def send_letter(ctx: Context, key: str) -> bool:
    """Send a letter; of the first attempt the world hears, and the database never does."""
    with ctx.once(key) as first:
        if first:
            send(key)
            note("start")
            if ctx.attempt == 1:
                pass_gate_in_thread("never")
    return first


@tasks.task("send-from-child", executor="process", timeout=300)
def send_from_child(ctx: Context, key: str) -> bool:
    with ctx.once(key) as first:
        if first:
            send(key)
    return first


@tasks.task("die-in-child", executor="process", timeout=300, max_crashes=10)
def die_in_child(ctx: Context, key: str) -> bool:
    """The process child ends between the letter and the record of it."""
    with ctx.once(key) as first:
        if first:
            send(key)
            time.sleep(0)
            os._exit(9)
    return first
