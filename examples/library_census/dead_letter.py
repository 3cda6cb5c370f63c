"""What to do about jobs that failed for good: look, mend and redrive, or discard."""

import subprocess
from pathlib import Path

from sqlalchemy import text

from examples.library_census import report
from examples.library_census.following import Failed, look_on
from examples.library_census.models import open_session
from examples.library_census.screen import cut, duration, say

FEW = 3


def show() -> int:
    """Print the dead letter, equal errors together; return how many jobs are in it."""
    with open_session() as session:
        groups = report.dead_letter(session)
    dead = sum(group.jobs for group in groups)
    say(f"\nDead letter: {dead} jobs, equal errors together")
    for group in groups:
        names = [Path(path).name for path in group.paths]
        more = ", ..." if len(names) > FEW else ""
        message = group.error.partition(" (<unknown>")[0]
        say(cut(f"  {group.jobs:>3}  {group.error_type}: {message}"))
        say(f"       {group.tries} attempts each: {', '.join(names[:FEW])}{more}")
    return dead


def redrive(worker: subprocess.Popen[bytes], path: Path) -> None:
    """Run the dead job of the module at *path* again: it has been mended."""
    with open_session() as session, session.begin():
        session.execute(
            text("""
                SELECT pgqueue.retry(job.id, actor => 'librarian', reason => 'file mended')
                FROM pgqueue.all_jobs AS job
                JOIN modules ON modules.id = (job.args ->> 'module_id')::int
                WHERE job.state = 'dead' AND modules.path = :path
            """),
            {"path": str(path)},
        )
    for _ in look_on(worker):
        pass
    with open_session() as session:
        run = report.last_run(session, path)
    if run.state != "succeeded":
        raise Failed(f"{path.name} was mended, but its job is {run.state}: {run.error}")
    waited = duration(run.wait)
    say(f"  {path.name}: mended and redriven (pgqueue.retry); started {waited} later, succeeded")


def discard_the_rest() -> None:
    """Give up the other dead jobs: they leave the queue, and stay in history."""
    with open_session() as session, session.begin():
        answers = session.scalars(
            text("""
                SELECT pgqueue.discard(id, actor => 'librarian', reason => 'will never parse')
                FROM pgqueue.all_jobs WHERE state = 'dead'
            """)
        ).all()
    discarded = answers.count("discarded")
    say(f"  the other {discarded} will never parse: discarded (pgqueue.discard), kept in history")
