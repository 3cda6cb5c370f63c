"""What the demo asks the database: how far, what died, how fast."""

from pathlib import Path
from typing import NamedTuple

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from examples.library_census.counting import Figures
from examples.library_census.models import Count, Line, Module


class Jobs(NamedTuple):
    """How many jobs are in which state."""

    waiting: int
    running: int
    dead: int
    succeeded: int
    discarded: int

    @property
    def over(self) -> int:
        """How many no worker has to do with any more."""
        return self.dead + self.succeeded + self.discarded

    @property
    def are_over(self) -> bool:
        return not self.waiting and not self.running


def jobs(session: Session, task: str | None = None) -> Jobs:
    """Count the jobs in the view of all jobs, live and finished; of one task, or of all."""
    states = text("""
        SELECT state, count(*) FROM pgqueue.all_jobs
        WHERE CAST(:task AS text) IS NULL OR task = :task
        GROUP BY state
    """)
    count = {state: number for state, number in session.execute(states, {"task": task})}
    return Jobs(
        waiting=count.get("available", 0) + count.get("scheduled", 0),
        running=count.get("running", 0),
        dead=count.get("dead", 0),
        succeeded=count.get("succeeded", 0),
        discarded=count.get("discarded", 0),
    )


class DeadJobs(NamedTuple):
    """Jobs in the dead letter that failed with what is the same error to a person."""

    jobs: int
    tries: int
    error_type: str
    error: str
    paths: list[str]


class Run(NamedTuple):
    """How a job ran: its state, its error, and the seconds from when it was due to its start."""

    state: str
    error: str | None
    wait: float


def dead_letter(session: Session) -> list[DeadJobs]:
    """The dead letter, the most frequent error first."""
    rows = session.execute(
        text("""
            SELECT count(*), min(job.failures), min(job.error_type), min(job.error),
                array_agg(modules.path ORDER BY modules.path)
            FROM pgqueue.all_jobs AS job
            JOIN modules ON modules.id = (job.args ->> 'module_id')::int
            WHERE job.state = 'dead'
            GROUP BY job.fingerprint
            ORDER BY count(*) DESC, min(job.error)
        """)
    )
    return [DeadJobs(*row) for row in rows]


def throughput(session: Session) -> float:
    """Jobs a second, from the first start to the last end."""
    return float(
        session.scalar(
            text("""
                SELECT count(*) / extract(epoch FROM max(finished_at) - min(started_at))
                FROM pgqueue.all_jobs
            """)
        )
        or 0
    )


def latencies(session: Session) -> tuple[list[float], list[float]]:
    """The 50th, 95th and 99th percentile in seconds: from enqueue to start, and from start to end.

    Of the modules that were counted at the first try.
    """
    wait, run = session.execute(
        text("""
            SELECT
                percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (
                    ORDER BY extract(epoch FROM started_at - created_at)),
                percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (
                    ORDER BY extract(epoch FROM finished_at - started_at))
            FROM pgqueue.all_jobs
            WHERE state = 'succeeded' AND attempt = 1 AND task = 'count-module'
        """)
    ).one()
    return wait, run


def last_run(session: Session, path: Path) -> Run:
    """How the job of the module at *path* ran when it last did."""
    row = session.execute(
        text("""
            SELECT job.state, job.error, extract(epoch FROM job.started_at - job.run_at)::float
            FROM pgqueue.all_jobs AS job
            JOIN modules ON modules.id = (job.args ->> 'module_id')::int
            WHERE modules.path = :path
        """),
        {"path": str(path)},
    ).one()
    return Run(*row)


def failed_attempts(session: Session, outcome: str) -> int:
    """How many attempts did not succeed and came to *outcome*: failed, lost, ..."""
    query = text("SELECT count(*) FROM pgqueue.attempts WHERE outcome = :outcome")
    return int(session.scalar(query, {"outcome": outcome}) or 0)


def counted(session: Session) -> tuple[Figures, int, int]:
    """The sum of all counts, how many there are, and of how many modules."""
    columns = (Count.lines, Count.functions, Count.classes, Count.imports)
    sums = [func.coalesce(func.sum(column), 0) for column in columns]
    modules = func.count(Count.module_id.distinct())
    *totals, rows, distinct = session.execute(select(*sums, func.count(), modules)).one()
    return Figures(*totals), rows, distinct


def uncounted(session: Session) -> set[str]:
    """The paths of modules that have no count."""
    counts = select(Count.module_id)
    return set(session.scalars(select(Module.path).where(Module.id.not_in(counts))))


def imported(session: Session) -> list[tuple[int, str]]:
    """The lines that were imported, and their numbers, in order."""
    lines = select(Line.number, Line.text).order_by(Line.number, Line.id)
    return [(number, text) for number, text in session.execute(lines)]
