"""The end of the demo: what was done, how fast, and what to try next."""

import sys
from pathlib import Path

from examples.library_census import report
from examples.library_census.models import open_session
from examples.library_census.screen import duration, say, table
from examples.library_census.tasks import count_module
from pgqueue import BatchStatus

NEXT = """
Next, the same by hand. In one terminal, a database like this one that is kept:

  {bin}/pgqueue dev

In another, after the line that it prints (export PGQUEUE_DSN=...):

  {bin}/python -m examples.library_census.enqueue
  {bin}/pgqueue worker examples.library_census.tasks:tasks -q census=2 --processes 2
  {bin}/pgqueue status
  {bin}/pgqueue jobs list --state dead

And: make demo ARGS=--pull-the-plug kills a worker in the middle, and ARGS=--keep lets you look
at this very database with psql, sql/*.sql and pgqueue.
"""


def show(jobs_per_second: float, died: int, imported: BatchStatus) -> None:
    """Print figures of the run from the queue's own history, and what to type next."""
    with open_session() as session:
        jobs = report.jobs(session, count_module.name)
        failed = report.failed_attempts(session, "failed")
        lost = report.failed_attempts(session, "lost")
        wait, run = report.latencies(session)
    say("\nSummary")
    say(
        f"  {jobs.succeeded:,} modules counted, {jobs.discarded} jobs were discarded: "
        f"{jobs_per_second:,.0f} jobs/s by 2 worker processes"
    )
    say(f"  a batch of {imported.total:,} chunks imported, and a daily report run by hand")
    say(
        f"  {failed} attempts failed: {failed - died} were tried again, "
        f"{died} ended in the dead letter"
    )
    if lost:
        say(f"  {lost} attempts were lost with the killed worker process; their jobs ran again")
    table(
        ("latency", "p50", "p95", "p99"),
        [("from enqueue to start", *map(duration, wait)), ("run", *map(duration, run))],
    )
    say("  (they were all enqueued at one moment, so most had to wait for others)")
    say(NEXT.format(bin=_programs()).rstrip())


def _programs() -> Path:
    """Where this environment's commands are, as briefly as the present directory allows."""
    directory = Path(sys.executable).parent
    here = Path.cwd()
    return directory.relative_to(here) if directory.is_relative_to(here) else directory
