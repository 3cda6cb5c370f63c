"""What a run came to, as one table."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from tests.chaos.checker import Violation
from tests.chaos.faults import LEFT_OUT

_BUCKETS = (1, 2, 4, 6, 8, 10, 12, 15, 20, 30)

_TOTALS = """
SELECT
    (SELECT count(*) FROM pgqueue.all_jobs),
    (SELECT count(*) FROM chaos.ack),
    (SELECT count(*) FROM chaos.ack WHERE NOT EXISTS (
        SELECT FROM pgqueue.all_jobs WHERE id = ack.job_id)),
    (SELECT count(*) FROM pgqueue.jobs WHERE state <> 'dead'),
    (SELECT count(*) FROM chaos.start),
    (SELECT count(*) - count(DISTINCT job_id) FROM chaos.start),
    (SELECT count(*) FROM chaos.job_event)
"""
_STATES = "SELECT state, count(*) FROM pgqueue.all_jobs GROUP BY state ORDER BY state"
# Each start after a job's first, by what became of the attempt before it.
_CAUSES = """
SELECT coalesce(cause.kind, 'UNEXPLAINED'), count(*)
FROM chaos.start AS again
LEFT JOIN chaos.job_event AS cause
    ON cause.job_id = again.job_id AND cause.attempt = again.attempt - 1
    AND cause.old_state = 'running' AND cause.kind <> 'edited'
WHERE EXISTS (
    SELECT FROM chaos.start AS first
    WHERE first.job_id = again.job_id AND first.attempt < again.attempt)
GROUP BY 1 ORDER BY 1
"""
# From the death of a worker to the return of each of its jobs.
_RESCUES = """
SELECT extract(epoch FROM rescue.at - fault.began)::float8
FROM chaos.fault
JOIN chaos.job_event AS claim ON claim.process = fault.target AND claim.kind = 'claimed'
    AND claim.at < fault.began
JOIN chaos.job_event AS rescue ON rescue.job_id = claim.job_id AND rescue.attempt = claim.attempt
    AND rescue.kind = 'rescued' AND rescue.at > fault.began
WHERE fault.kind = 'worker killed'
"""


@dataclass(frozen=True, kw_only=True)
class Report:
    """The numbers of a run, and what was found."""

    seed: int
    jobs: int
    acknowledged: int
    lost: int
    stuck: int
    starts: int
    repeated: int
    moves: int
    states: dict[str, int]
    causes: dict[str, int]
    rescues: list[float]
    faults: Counter[str]
    violations: list[Violation]
    surprises: list[str]
    drained_in: float | None
    skipped: list[str]
    files: str
    home: Path

    @property
    def is_clean(self) -> bool:
        return not self.violations and not self.surprises and self.drained_in is not None

    @property
    def unexplained(self) -> int:
        return self.causes.get("UNEXPLAINED", 0)

    def __str__(self) -> str:
        drained = "NOT DRAINED" if self.drained_in is None else f"{self.drained_in:.1f} s"
        explained = ", ".join(f"{n} {cause}" for cause, n in self.causes.items())
        lines = [
            f"seed            {self.seed}",
            f"jobs            {self.jobs} ({self.acknowledged} acknowledged, {self.moves} moves)",
            "                " + ", ".join(f"{n} {state}" for state, n in self.states.items()),
            f"faults          {sum(self.faults.values())} of {len(self.faults)} kinds",
            *(f"  {n:5}  {kind}" for kind, n in sorted(self.faults.items())),
            f"lost            {self.lost} (95 % bound: {3 / max(self.acknowledged, 1):.1e} a job)",
            f"stuck           {self.stuck} (drained in {drained})",
            f"started again   {self.repeated} of {self.starts} starts: {explained or 'none'}",
            f"unexplained     {self.unexplained}",
            *self._histogram(),
            f"amcheck         {self.files}",
        ]
        lines += [f"SKIPPED         {what}" for what in self.skipped]
        lines += [f"not in this run {what}: it {why}" for what, why in LEFT_OUT.items()]
        lines += [f"VIOLATED        {violation}" for violation in self.violations]
        lines += [f"SURPRISE        {surprise}" for surprise in self.surprises]
        if not self.is_clean:
            lines.append(f"all of it is in {self.home}")
        return "\n".join(lines)

    def _histogram(self) -> list[str]:
        if not self.rescues:
            return ["rescue time     no worker was killed that held a job"]
        lines = [
            f"rescue time     of {len(self.rescues)} jobs, after their worker was killed: "
            f"at most {max(self.rescues):.1f} s"
        ]
        below = 0
        for bucket in _BUCKETS:
            within = sum(seconds <= bucket for seconds in self.rescues)
            if within > below:
                lines.append(f"  {within - below:5}  within {bucket} s")
            below = within
        if below < len(self.rescues):
            lines.append(f"  {len(self.rescues) - below:5}  later")
        return lines


def measure(connection: psycopg.Connection[Any], **known: Any) -> Report:
    """Count what the run left in the database."""
    totals = connection.execute(_TOTALS).fetchone()
    assert totals is not None
    names = ("jobs", "acknowledged", "lost", "stuck", "starts", "repeated", "moves")
    return Report(
        **dict(zip(names, totals, strict=True)),
        states=dict(connection.execute(_STATES).fetchall()),
        causes=dict(connection.execute(_CAUSES).fetchall()),
        rescues=[seconds for (seconds,) in connection.execute(_RESCUES).fetchall()],
        **known,
    )
