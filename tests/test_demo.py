"""What ``make demo`` promises: everything counted once, proven, and nothing left behind."""

import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.orm import Session

from examples.library_census import importing, models, proof, report
from examples.library_census.counting import Figures, count
from examples.library_census.enqueue import library, register
from examples.library_census.models import Base, Count, Line, Module, open_session
from examples.library_census.tasks import import_lines
from pgqueue import batch_status, enqueue_chunked
from tests.command import Command
from tests.postgres import eventually

ROOT = Path(__file__).parents[1]
DEMO = [sys.executable, "-m", "examples.library_census.run"]
PATIENCE = 240  # seconds; on a busy machine
WORKER_STOPS_WITHIN = 60  # seconds


class Demo:
    """The demo as a process, in a temporary directory by which all its processes are known."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        self.directory = directory
        self.process = subprocess.Popen(
            [*DEMO, *arguments],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(directory)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def finish(self) -> tuple[int, str, str]:
        """Its exit code, what it printed, and what it complained about."""
        output, errors = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, output, errors

    def read_until(self, text: str) -> str:
        """Read its output up to a line with *text*; return that."""
        assert self.process.stdout is not None
        return next(line for line in self.process.stdout if text in line)

    def processes(self) -> set[int]:
        """It and all that it started, and what those started."""
        mark = b"\0TMPDIR=" + os.fsencode(self.directory) + b"\0"
        found = set()
        for environ in Path("/proc").glob("[0-9]*/environ"):
            try:
                if mark in b"\0" + environ.read_bytes():
                    found.add(int(environ.parent.name))
            except OSError:
                continue
        return found


@pytest.fixture
def start() -> Iterator[Callable[..., Demo]]:
    demos: list[Demo] = []
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o711)  # root's server runs as somebody else

        def start(*arguments: str) -> Demo:
            demos.append(Demo(Path(directory), *arguments))
            return demos[-1]

        yield start
        for demo in demos:
            demo.process.kill()
            demo.process.communicate()


def test_the_demo_counts_each_module_once_and_proves_it(start: Callable[..., Demo]) -> None:
    demo = start("--modules", "40")
    code, output, errors = demo.finish()

    assert (code, errors) == (0, "")
    assert "43 of 43 jobs" in output
    assert "TabError: inconsistent use of tabs" in output
    assert "unfinished.py: mended and redriven" in output
    assert "41 succeeded + 2 discarded = 43" in output
    assert "daily-report\n  at 18:00 every day (Europe/Berlin), next on " in output
    assert "run now, and waited for: {'day': " in output
    assert re.search(r"\[#{24}\] (\d+) of \1 chunks", output)
    assert re.search(r"each line was imported once: ([\d,]+) of \1 by \d+ jobs", output)
    assert "the queue is empty: 0 jobs wait, 0 run, 0 dead" in output
    assert output.count("  ok  ") == 7
    assert "FAILED" not in output
    assert list(demo.directory.iterdir()) == []


def test_a_demo_that_is_kept_can_be_looked_at_until_it_is_interrupted(
    start: Callable[..., Demo],
) -> None:
    demo = start("--modules", "20", "--keep")
    dsn = shlex.split(demo.read_until("export PGQUEUE_DSN='"))[1].partition("=")[2]
    with psycopg.connect(dsn) as connection:
        ids = "SELECT min(id) FROM pgqueue.all_jobs WHERE state = 'succeeded'"
        job = connection.execute(ids).fetchone()
        assert job
        for path in sorted((ROOT / "sql").glob("*.sql")):
            text = re.sub(r"(?<!:):id\b", str(job[0]), path.read_text())
            connection.execute(text.replace(":'actor'", "'nobody'"))
    command = Command(dsn)
    for look in ("doctor", "alerts"):
        assert command(look, exits=None).exit_code < 3
    assert "census" in command("top", "--once").output
    assert "succeeded" in command("jobs", "story", job[0]).output

    demo.process.send_signal(signal.SIGINT)

    code, _, errors = demo.finish()
    assert (code, errors) == (0, "")
    assert list(demo.directory.iterdir()) == []


def test_a_worker_killed_in_the_middle_loses_nothing(start: Callable[..., Demo]) -> None:
    code, output, errors = start("--modules", "300", "--pull-the-plug").finish()

    assert (code, errors) == (0, "")
    assert "jobs in hand: they run again" in output
    assert "attempts were lost with the killed worker process; their jobs ran again" in output
    assert "301 succeeded + 2 discarded = 303" in output


@pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_a_demo_that_is_interrupted_leaves_nothing_running(
    start: Callable[..., Demo], number: signal.Signals, code: int
) -> None:
    demo = start("--modules", "400")
    demo.read_until("[##")
    assert len(demo.processes()) > 5

    demo.process.send_signal(number)

    assert demo.finish()[0] == code
    eventually(lambda: not demo.processes(), within=WORKER_STOPS_WITHIN)
    if number != signal.SIGKILL:
        assert list(demo.directory.iterdir()) == []


@pytest.fixture
def session(dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    monkeypatch.setenv("PGQUEUE_DSN", dsn)
    models.engine.cache_clear()
    Base.metadata.create_all(models.engine())
    with models.open_session() as session:
        yield session
    models.engine().dispose()
    models.engine.cache_clear()


def test_a_module_and_its_job_come_into_being_together(session: Session) -> None:
    register(session, library()[:3])
    assert report.jobs(session).waiting == 3
    session.rollback()
    assert report.jobs(session).waiting == 0

    assert register(session, library()[:3]) == 3
    assert register(session, library()[:4]) == 1
    assert report.jobs(session).waiting == 4


def test_a_module_that_was_counted_twice_is_found_out(session: Session) -> None:
    path = library()[0]
    register(session, [path])
    module = session.query(Module).one()
    for _ in range(2):
        session.add(Count(module_id=module.id, lines=1, functions=0, classes=0, imports=0))
    session.flush()

    checks = proof.compare(session, 1, Figures(lines=2), set())

    assert [check.claim for check in checks if not check.holds] == [
        "the queue is empty: 1 jobs wait, 0 run, 0 dead",
        "every job came to an end: 0 succeeded + 0 discarded = 1",
        "each success counted once: 2 counts of 1 modules by 0 jobs",
    ]


def test_a_line_that_was_imported_twice_or_not_at_all_is_found_out(session: Session) -> None:
    with open_session() as other, other.begin():
        batch = enqueue_chunked(other, import_lines, ["a", "b"])
    status = batch_status(session, batch.id)._replace(succeeded=1)
    for number, text in enumerate(["a", "b"]):
        session.add(Line(number=number, text=text))
    session.flush()
    assert proof.compare_import(session, status, ["a", "b"]).holds

    assert not proof.compare_import(session, status._replace(succeeded=0), ["a", "b"]).holds
    assert not proof.compare_import(session, status, ["a", "b", "c"]).holds
    session.add(Line(number=1, text="b"))
    session.flush()
    assert not proof.compare_import(session, status, ["a", "b"]).holds


def test_the_lines_are_the_same_whenever_they_are_read(tmp_path: Path) -> None:
    (tmp_path / "large.py").write_text("a\nb\nc\nd\ne")
    (tmp_path / "small.py").write_text("f")
    (tmp_path / "odd.py").write_bytes(b"\xff\0\n" * 2)
    paths = sorted(tmp_path.iterdir())

    lines = list(importing.lines_of(paths))
    assert lines == list(importing.lines_of(reversed(paths)))
    assert lines == ["a", "b", "c", "d", "e", *["\N{REPLACEMENT CHARACTER}␀"] * 2, "f"]


def test_the_library_is_large_and_each_module_in_it_once() -> None:
    modules = library()

    assert len(modules) > 1000
    assert len(set(modules)) == len(modules)


def test_statements_are_counted_however_deep(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(
        "import os, sys\n"
        "class A:\n"
        "    async def f(self):\n"
        "        try:\n"
        "            from x import y\n"
        "        except ImportError:\n"
        "            def y(): ...\n"
        "        match self:\n"
        "            case A():\n"
        "                class B: ...\n"
    )

    assert count(module) == Figures(lines=10, functions=2, classes=2, imports=2)
