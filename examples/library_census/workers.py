"""Worker processes for as long as the demo lasts."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

COMMAND = ("worker", "examples.library_census.tasks:tasks", "-q", "census=2", "--processes", "2")
ROOT = Path(__file__).parents[2]
STOPS_WITHIN = 20.0  # seconds
SHORT_LEASE = "3s"


@contextmanager
def workers(log: Path, *, pull_the_plug: bool) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``pgqueue worker``, with two processes below it, on the database in PGQUEUE_DSN.

    It logs into the file *log*. To *pull_the_plug* its leases are short, so that jobs of a killed
    process are soon taken over.
    """
    options = ["--lease", SHORT_LEASE] if pull_the_plug else []
    with log.open("wb") as output:
        worker = subprocess.Popen(
            [sys.executable, "-m", "pgqueue.cli", *COMMAND, "--log-level", "warning", *options],
            cwd=ROOT,
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
            with suppress(subprocess.TimeoutExpired):
                worker.wait(STOPS_WITHIN)
        finally:  # even if there is another Ctrl-C while we wait
            worker.kill()
            worker.wait()
            guard.kill()
            guard.communicate()


def _guard(worker: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
    """A shell that stops the worker when we are gone, for then our end of its pipe is closed."""
    return subprocess.Popen(
        ["/bin/sh", "-c", 'read _; kill "$0"', str(worker.pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def last_lines(log: Path) -> str:
    """The end of what the worker logged."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-20:])
