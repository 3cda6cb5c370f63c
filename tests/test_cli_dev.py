"""``pgqueue dev``: a database for playing, that keeps its jobs."""

import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.command import MAIN, Command, environment, run_process


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory that the server's account can reach, as pytest's own is not for root."""
    with TemporaryDirectory(prefix="pgqueue-dev-") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory) / "kept"


@contextmanager
def playing(home: Path) -> Iterator[Command]:
    """``pgqueue dev`` running, until Ctrl-C; yields its database."""
    with subprocess.Popen(
        [*MAIN, "dev", "--dir", str(home)],
        env=environment(None), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        export, dsn = shlex.split(process.stdout.readline())
        name, _, value = dsn.partition("=")
        assert (export, name) == ("export", "PGQUEUE_DSN")
        try:
            yield Command(value)
        finally:
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "the jobs are kept" in said


def test_a_database_for_playing_is_ready_and_keeps_its_jobs(home: Path) -> None:
    with playing(home) as pgqueue:
        pgqueue("enqueue", "send")
        second = run_process("dev", "--dir", str(home))
        assert second.returncode == 3
        assert "in use by process" in second.stderr
    with playing(home) as pgqueue:
        assert len(pgqueue.json("jobs", "list")["jobs"]) == 1
