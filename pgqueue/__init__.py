"""pgqueue: a durable job queue that is only Postgres."""

from pgqueue.backoff import Backoff, Delays, Exponential, Fixed, Linear
from pgqueue.batches import (
    batch_jobs,
    batch_jobs_async,
    batch_status,
    batch_status_async,
    cancel_batch,
    cancel_batch_async,
    enqueue_batch,
    enqueue_batch_async,
    enqueue_chunked,
    enqueue_chunked_async,
    retry_batch,
    retry_batch_async,
)
from pgqueue.client import enqueue, enqueue_async, enqueue_many, enqueue_many_async
from pgqueue.context import Context, JobFields, current_job
from pgqueue.errors import (
    BatchNotFound,
    DuplicateTask,
    ForeignDatabase,
    IdempotencyConflict,
    InvalidOption,
    InvalidPayload,
    LargePayload,
    LeaseLost,
    OtherDatabase,
    PgqueueError,
    SchemaMismatch,
    UndecodablePayload,
    UnknownTask,
    UnsupportedConnection,
)
from pgqueue.events import JobEvent
from pgqueue.job import Job, Reason, State
from pgqueue.options import Keep, NewJob
from pgqueue.policy import NETWORK_ERRORS, After, Until
from pgqueue.signals import Cancel, Fail, Retry, Snooze
from pgqueue.storage.batches import Batch, BatchStatus
from pgqueue.storage.enqueueing import Enqueued
from pgqueue.tasks import Task, Tasks
from pgqueue.verbs import cancel, cancel_async, discard, discard_async, retry, retry_async

__all__ = [
    "NETWORK_ERRORS",
    "After",
    "Backoff",
    "Batch",
    "BatchNotFound",
    "BatchStatus",
    "Cancel",
    "Context",
    "Delays",
    "DuplicateTask",
    "Enqueued",
    "Exponential",
    "Fail",
    "Fixed",
    "ForeignDatabase",
    "IdempotencyConflict",
    "InvalidOption",
    "InvalidPayload",
    "Job",
    "JobEvent",
    "JobFields",
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
    "batch_jobs",
    "batch_jobs_async",
    "batch_status",
    "batch_status_async",
    "cancel",
    "cancel_async",
    "cancel_batch",
    "cancel_batch_async",
    "current_job",
    "discard",
    "discard_async",
    "enqueue",
    "enqueue_async",
    "enqueue_batch",
    "enqueue_batch_async",
    "enqueue_chunked",
    "enqueue_chunked_async",
    "enqueue_many",
    "enqueue_many_async",
    "retry",
    "retry_async",
    "retry_batch",
    "retry_batch_async",
]
