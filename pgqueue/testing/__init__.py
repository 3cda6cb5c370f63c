"""For the tests of applications: look at what was enqueued, run it in the test's own transaction
with a clock that moves, fake handlers, and let real workers die.

On any connection that :func:`pgqueue.enqueue` takes, and nothing is ever committed. Fixtures for
pytest (``pgqueue_dsn``, ``pgqueue_connection``, ``pgqueue_worker``) are installed with the package;
nothing else here wants pytest.
"""

from pgqueue.testing.assertions import (
    assert_enqueued,
    assert_enqueued_async,
    assert_not_enqueued,
    assert_not_enqueued_async,
    enqueued_jobs,
    enqueued_jobs_async,
)
from pgqueue.testing.databases import Databases
from pgqueue.testing.draining import drain, drain_async
from pgqueue.testing.faking import fake
from pgqueue.testing.inlining import inline
from pgqueue.testing.rehearsing import DrainFailed
from pgqueue.testing.values import Attempt, Drained, EnqueuedJob
from pgqueue.testing.workers import WorkerProcess, WorkerThread, crash_worker

__all__ = [
    "Attempt",
    "Databases",
    "DrainFailed",
    "Drained",
    "EnqueuedJob",
    "WorkerProcess",
    "WorkerThread",
    "assert_enqueued",
    "assert_enqueued_async",
    "assert_not_enqueued",
    "assert_not_enqueued_async",
    "crash_worker",
    "drain",
    "drain_async",
    "enqueued_jobs",
    "enqueued_jobs_async",
    "fake",
    "inline",
]
