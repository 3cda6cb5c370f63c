"""What the demo asks the database: how far, what died, how fast."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Row, func, select, text
from sqlalchemy.orm import Session

from examples.library_census.counting import Figures
from examples.library_census.models import Count, Module


class Jobs(NamedTuple):
    """How many jobs are in which state."""

    waiting: int
    running: int
    dead: int
    succeeded: int
    discarded: int

    @property
    def over(self) -> int:
        return self.dead + self.succeeded + self.discarded


class Latency(NamedTuple):
    """Percentiles, in seconds."""

    p50: float
    p95: float
    p99: float


def jobs(session: Session) -> Jobs:
    """Count the jobs in the view of all jobs, live and finished."""
    states = "SELECT state, count(*) FROM pgqueue.all_jobs GROUP BY state"
    count = {state: number for state, number in session.execute(text(states))}
    return Jobs(
        waiting=count.get("available", 0) + count.get("scheduled", 0),
        running=count.get("running", 0),
        dead=count.get("dead", 0),
        succeeded=count.get("succeeded", 0),
        discarded=count.get("discarded", 0),
    )


def dead_letter(session: Session) -> Sequence[Row[Any]]:
    """Jobs in the dead letter, grouped by what is the same error to a person."""
    return session.execute(
        text("""
            SELECT count(*) AS jobs, min(failures) AS tries, min(error_type) AS error_type,
                min(error) AS error, array_agg(modules.path ORDER BY modules.path) AS paths
            FROM pgqueue.all_jobs
            JOIN modules ON modules.id = (args ->> 'module_id')::int
            WHERE state = 'dead'
            GROUP BY fingerprint
            ORDER BY jobs DESC, error
        """)
    ).all()


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


def latencies(session: Session) -> tuple[Latency, Latency]:
    """How long the jobs that succeeded at once waited for their start, and how long they ran."""
    wait, run = session.execute(
        text("""
            SELECT
                percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (
                    ORDER BY extract(epoch FROM started_at - created_at)),
                percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (
                    ORDER BY extract(epoch FROM finished_at - started_at))
            FROM pgqueue.all_jobs
            WHERE state = 'succeeded' AND attempt = 1
        """)
    ).one()
    return Latency(*wait), Latency(*run)


def failed_attempts(session: Session, outcome: str) -> int:
    """How many attempts did not succeed and came to *outcome*: failed, crashed, ..."""
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
