"""pgqueue: a durable job queue that is only Postgres."""

from pgqueue.backoff import Backoff, Delays, Exponential, Fixed, Linear
from pgqueue.client import enqueue, enqueue_async, enqueue_many, enqueue_many_async
from pgqueue.context import Context, JobFields, current_job
from pgqueue.errors import (
    DuplicateTask,
    ForeignDatabase,
    IdempotencyConflict,
    InvalidOption,
    InvalidPayload,
    JobCancelled,
    JobDead,
    JobGone,
    JobNotFound,
    LargePayload,
    LeaseLost,
    OtherDatabase,
    PgqueueError,
    SchemaMismatch,
    UndecodablePayload,
    UnknownTask,
    UnsupportedConnection,
    WaitFailed,
    WaitInsideTransaction,
    WaitTimeout,
)
from pgqueue.events import JobEvent
from pgqueue.fetching import FetchedJob, fetch, fetch_async
from pgqueue.job import Job, Reason, State
from pgqueue.options import Keep, NewJob
from pgqueue.policy import NETWORK_ERRORS, After, Until
from pgqueue.signals import Cancel, Fail, Retry, Snooze
from pgqueue.storage.enqueueing import Enqueued
from pgqueue.tasks import Task, Tasks
from pgqueue.verbs import cancel, cancel_async, discard, discard_async, retry, retry_async
from pgqueue.waiter import Finished, JobStatus, Waiter, find_status, find_status_async

__all__ = [
    "NETWORK_ERRORS",
    "After",
    "Backoff",
    "Cancel",
    "Context",
    "Delays",
    "DuplicateTask",
    "Enqueued",
    "Exponential",
    "Fail",
    "FetchedJob",
    "Finished",
    "Fixed",
    "ForeignDatabase",
    "IdempotencyConflict",
    "InvalidOption",
    "InvalidPayload",
    "Job",
    "JobCancelled",
    "JobDead",
    "JobEvent",
    "JobFields",
    "JobGone",
    "JobNotFound",
    "JobStatus",
    "Keep",
    "LargePayload",
    "LeaseLost",
    "Linear",
    "NewJob",
    "OtherDatabase",
    "PgqueueError",
    "Reason",
    "Retry",
    "SchemaMismatch",
    "Snooze",
    "State",
    "Task",
    "Tasks",
    "UndecodablePayload",
    "UnknownTask",
    "UnsupportedConnection",
    "Until",
    "WaitFailed",
    "WaitInsideTransaction",
    "WaitTimeout",
    "Waiter",
    "cancel",
    "cancel_async",
    "current_job",
    "discard",
    "discard_async",
    "enqueue",
    "enqueue_async",
    "enqueue_many",
    "enqueue_many_async",
    "fetch",
    "fetch_async",
    "find_status",
    "find_status_async",
    "retry",
    "retry_async",
]
