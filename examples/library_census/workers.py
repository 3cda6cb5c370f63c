"""Worker processes for as long as the demo lasts."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

COMMAND = ("worker", "examples.library_census.tasks:tasks", "-q", "census=2", "--processes", "2")
ROOT = Path(__file__).parents[2]
STOPS_WITHIN = 20.0  # seconds


@contextmanager
def workers(dsn: str, log: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``pgqueue worker`` with two processes below it; its log goes into a file."""
    with log.open("wb") as output:
        worker = subprocess.Popen(
            [sys.executable, "-m", "pgqueue.cli", *COMMAND, *options],
            cwd=ROOT,
            env={**os.environ, "PGQUEUE_DSN": dsn},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # a Ctrl-C is for the demo, which stops the worker in turn
        )
    guard = _guard(worker)
    try:
        yield worker
    finally:
        worker.terminate()
        try:
            worker.wait(STOPS_WITHIN)
        finally:
            worker.kill()
            worker.wait()
            guard.kill()
            guard.communicate()


def _guard(worker: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
    """A shell that stops the worker when this process is killed: our end of its pipe closes then."""
    return subprocess.Popen(
        ["/bin/sh", "-c", 'read _; kill "$0"', str(worker.pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
