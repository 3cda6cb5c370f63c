"""What an attempt came to: values made by the executor and written to Postgres by somebody else.

``started`` and ``ended`` are moments of the worker's own monotonic clock; only their distance to
the moment of writing is ever sent to the database.
"""

from typing import NamedTuple

from pgqueue.job import Job, Reason


class Failure(NamedTuple):
    """An error as it is kept: no objects, no locals, cut to a bounded size."""

    type: str
    message: str
    traceback: str | None
    fingerprint: str
    """Equal for errors that are the same to a person: type, place and message without its
    numbers."""


class Succeeded(NamedTuple):
    job: Job
    started: float
    ended: float
    result: str | None
    """The handler's result as JSON text; ``None`` when it returned ``None``."""


class Retried(NamedTuple):
    job: Job
    started: float
    ended: float
    failure: Failure
    delay: float
    """Seconds until the next attempt may start."""
    timed_out: bool = False


class Died(NamedTuple):
    job: Job
    started: float
    ended: float
    failure: Failure
    reason: Reason
    timed_out: bool = False


class Cancelled(NamedTuple):
    job: Job
    started: float
    ended: float
    why: str | None


class Snoozed(NamedTuple):
    """Postponed by its own handler; charged nothing."""

    job: Job
    started: float
    ended: float
    delay: float


class Released(NamedTuple):
    """Given back by a worker that will not finish it; charged nothing."""

    job: Job
    started: float
    ended: float
    why: str


class Crashed(NamedTuple):
    """The process child that ran it vanished."""

    job: Job
    started: float
    ended: float
    why: str


class Committed(NamedTuple):
    """Finished already, in the handler's own transaction: nothing is left to write."""

    job: Job
    started: float
    ended: float


class Undecided(NamedTuple):
    """The COMMIT of the handler's transaction was sent and its answer lost.

    ``otherwise`` is what to write should the database say that it did not commit.
    """

    job: Job
    started: float
    ended: float
    otherwise: "Retried | Died"


class Lost(NamedTuple):
    """The lease was lost while the job ran: there is nothing to write, and nobody to write it
    for."""

    job: Job
    started: float
    ended: float


Outcome = (
    Succeeded
    | Retried
    | Died
    | Cancelled
    | Snoozed
    | Released
    | Crashed
    | Committed
    | Undecided
    | Lost
)
