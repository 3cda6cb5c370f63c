"""What to write instead of an outcome that the database refuses to store."""

from pgqueue import failure
from pgqueue.errors import PgqueueError
from pgqueue.outcome import Cancelled, Crashed, Died, Outcome, Released, Retried, Succeeded
from pgqueue.tasks import Tasks
from pgqueue.worker import attempt

_TEXT = "an error whose text the database could not store"


class ResultNotStored(PgqueueError):
    """The database refused a job's result."""


def instead(outcome: Outcome, refusal: Exception, tasks: Tasks) -> Outcome | None:
    """Return a plainer outcome for the same attempt, or None if there is none.

    A success whose result is refused becomes a failed attempt; an error whose text is refused keeps
    its meaning under a fixed text. What is refused even so is left to its lease.
    """
    job = outcome.job
    sqlstate = getattr(refusal, "sqlstate", None)
    if isinstance(outcome, Succeeded):
        error = ResultNotStored(f"the result of {job} could not be stored (SQLSTATE {sqlstate})")
        return attempt.fail(tasks[job.task], job, error, outcome.started)
    if isinstance(outcome, (Retried, Died)) and outcome.failure.message != _TEXT:
        return outcome._replace(failure=failure.plain("Unstorable", _TEXT))
    if isinstance(outcome, (Cancelled, Crashed, Released)) and outcome.why != _TEXT:
        return outcome._replace(why=_TEXT)
    return None
