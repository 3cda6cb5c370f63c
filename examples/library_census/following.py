"""Follow the work of the workers until there is none left."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator

from sqlalchemy import text

from examples.library_census import report
from examples.library_census.models import open_session
from examples.library_census.screen import Progress
from examples.library_census.workers import SHORT_LEASE

LOOK_EVERY = 0.2  # seconds
STALLED_AFTER = 60.0  # seconds


class Failed(Exception):
    """Something is not as it should be; the text says what."""


def follow(worker: subprocess.Popen[bytes], total: int, *, pull_the_plug: bool) -> None:
    """Show the progress until no job waits or runs; on the way, maybe kill a worker process."""
    progress = Progress(total, "jobs")
    for jobs in look_on(worker):
        progress.show(jobs.over, f"{jobs.dead} dead" if jobs.dead else "")
        if pull_the_plug and jobs.over > total / 3:
            killed = _kill_a_process()
            if killed:
                progress.interrupt(killed)
                pull_the_plug = False


def look_on(worker: subprocess.Popen[bytes]) -> Iterator[report.Jobs]:
    """Yield the number of jobs in each state, again and again, until none waits or runs.

    Raises Failed if the worker ends, or if nothing moves for a minute.
    """
    before, moved_at = None, time.monotonic()
    while True:
        with open_session() as session:
            jobs = report.jobs(session)
        yield jobs
        if jobs.are_over:
            return
        if jobs != before:
            before, moved_at = jobs, time.monotonic()
        if worker.poll() is not None:
            raise Failed(f"the worker ended with exit code {worker.returncode}")
        if time.monotonic() > moved_at + STALLED_AFTER:
            raise Failed(f"nothing has moved for {STALLED_AFTER:.0f} s: {jobs}")
        time.sleep(LOOK_EVERY)


def _kill_a_process() -> str | None:
    """SIGKILL the worker process that has most jobs in hand; say so. None: none has any."""
    with open_session() as session:
        busiest = session.execute(
            text("""
                SELECT workers.pid, count(*) AS held
                FROM pgqueue.workers JOIN pgqueue.all_jobs ON all_jobs.worker_id = workers.id
                WHERE all_jobs.state = 'running'
                GROUP BY workers.pid ORDER BY held DESC LIMIT 1
            """)
        ).first()
    if busiest is None:
        return None
    os.kill(busiest.pid, signal.SIGKILL)
    return (
        f"  worker process {busiest.pid} was killed with about {busiest.held} jobs in hand: "
        f"they run again when its lease of {SHORT_LEASE} is over"
    )
