"""The census from beginning to end, on a throw-away PostgreSQL: what ``make demo`` runs.

The application itself is models.py, counting.py, tasks.py and enqueue.py. This is its director: it
starts a database and two worker processes, follows the work, empties the dead letter, runs the
daily report, imports some text, and proves that every module was counted, and every line imported,
exactly once.
"""

import argparse
import contextlib
import io
import os
import platform
import shlex
import sys
import threading
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
from sqlalchemy.exc import SQLAlchemyError

from examples.library_census import daily, dead_letter, importing, proof, report, summary
from examples.library_census.enqueue import library, register
from examples.library_census.following import Failed, follow
from examples.library_census.models import Base, engine, open_session
from examples.library_census.screen import say, step
from examples.library_census.workers import COMMAND, last_lines, workers
from pgqueue import PgqueueError, migrate
from pgqueue.embedded import EmbeddedPostgres, exit_on_sigterm

BROKEN = {
    "unfinished.py": "def shelve(book:\n",
    "python_2.py": "print 'hello'\n",
    "tabs_and_spaces.py": "if True:\n\tpass\n        pass\n",
}
MENDED = "def shelve(book: str) -> None:\n    print(book)\n"


def census(directory: Path, *, modules: int | None, pull_the_plug: bool, keep: bool) -> None:
    """Count the library, or its first *modules*, with files of our own in *directory*.
    *keep*: leave the database running at the end, until Ctrl-C.

    Raises Failed if anything is not as it should be.
    """
    say(f"A census of the standard library of Python {platform.python_version()}\n")
    with closing(EmbeddedPostgres()) as server:
        with step("Starting a throw-away PostgreSQL, and installing the queue's schema in it"):
            server.start()
            migrate.upgrade(server.dsn)
            os.environ["PGQUEUE_DSN"] = server.dsn
            Base.metadata.create_all(engine())

        say(f"Starting pgqueue {' '.join(COMMAND)}")
        log = directory / "worker.log"
        with workers(log, pull_the_plug=pull_the_plug) as worker:
            paths = register_library(directory, modules)
            try:
                follow(worker, len(paths), pull_the_plug=pull_the_plug)
                with open_session() as session:
                    speed = report.throughput(session)
                dead = dead_letter.show()
                mended = directory / "unfinished.py"
                mended.write_text(MENDED)
                dead_letter.redrive(worker, mended)
                dead_letter.discard_the_rest()
                said = daily.run_report()
                imported = importing.import_text(worker, importing.lines_of(paths))
            except Failed as error:
                raise Failed(f"{error}\n{last_lines(log)}") from None

        if not all(check.holds for check in proof.prove(paths, said, imported)):
            raise Failed("what is marked FAILED above does not hold")
        summary.show(speed, dead, imported)
        if keep:
            leave_running(server.dsn)


def leave_running(dsn: str) -> None:
    """Let the database be looked at from another terminal, until Ctrl-C."""
    say("\nThis database stays until Ctrl-C. In another terminal:\n")
    say(f"export PGQUEUE_DSN={shlex.quote(dsn)}")
    say('psql "$PGQUEUE_DSN" -f sql/queues.sql')
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()


def register_library(directory: Path, modules: int | None) -> list[Path]:
    """Register the library, and a few modules in *directory* that do not parse; return them all."""
    for name, source in BROKEN.items():
        (directory / name).write_text(source)
    paths = [*(directory / name for name in BROKEN), *library()[:modules]]
    what = f"Writing {len(paths):,} modules and enqueueing their jobs in one transaction"
    with step(what), open_session() as session, session.begin():
        register(session, paths)
    say()
    return paths


def main() -> int:
    """Run the demo; return its exit code: 0 only if every check holds."""
    parser = argparse.ArgumentParser(prog="library_census", description=__doc__)
    parser.add_argument(
        "--modules", type=int, metavar="N", help="count only the first N modules of the library"
    )
    parser.add_argument(
        "--pull-the-plug",
        action="store_true",
        help="kill a worker process in the middle, to see that nothing is lost or counted twice",
    )
    parser.add_argument(
        "--keep",
        action="store_true",
        help="leave the database running at the end, to look at it with psql and pgqueue",
    )
    options = parser.parse_args()
    if isinstance(sys.stdout, io.TextIOWrapper):  # some errors quote what not every terminal has
        sys.stdout.reconfigure(errors="replace")
    exit_on_sigterm()
    try:
        with TemporaryDirectory(prefix="library-census-") as directory:
            census(Path(directory), **vars(options))
    except (Failed, PgqueueError, SQLAlchemyError, psycopg.Error, OSError) as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted; nothing is left running.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
