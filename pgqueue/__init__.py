"""pgqueue: a durable job queue that is only Postgres."""

from pgqueue.backoff import Backoff, Delays, Exponential, Fixed, Linear
from pgqueue.client import enqueue, enqueue_async, enqueue_many, enqueue_many_async
from pgqueue.context import Context, JobFields, current_job
from pgqueue.errors import (
    DuplicateSchedule,
    DuplicateTask,
    ForeignDatabase,
    IdempotencyConflict,
    InvalidOption,
    InvalidPayload,
    LargePayload,
    LeaseLost,
    OtherDatabase,
    PgqueueError,
    ScheduleNotFound,
    SchemaMismatch,
    UndecodablePayload,
    UnknownTask,
    UnsupportedConnection,
)
from pgqueue.events import JobEvent
from pgqueue.job import Job, Reason, State
from pgqueue.options import Keep, NewJob
from pgqueue.policy import NETWORK_ERRORS, After, Until
from pgqueue.schedule import Misfire, NewSchedule, Overlap
from pgqueue.schedules import (
    disable_schedule,
    disable_schedule_async,
    enable_schedule,
    enable_schedule_async,
    run_schedule_now,
    run_schedule_now_async,
    schedule,
    schedule_async,
    unschedule,
    unschedule_async,
)
from pgqueue.signals import Cancel, Fail, Retry, Snooze
from pgqueue.storage.enqueueing import Enqueued
from pgqueue.tasks import Task, Tasks
from pgqueue.verbs import cancel, cancel_async, discard, discard_async, retry, retry_async

__all__ = [
    "NETWORK_ERRORS",
    "After",
    "Backoff",
    "Cancel",
    "Context",
    "Delays",
    "DuplicateSchedule",
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
    "Misfire",
    "NewJob",
    "NewSchedule",
    "OtherDatabase",
    "Overlap",
    "PgqueueError",
    "Reason",
    "Retry",
    "ScheduleNotFound",
    "SchemaMismatch",
    "Snooze",
    "State",
    "Task",
    "Tasks",
    "UndecodablePayload",
    "UnknownTask",
    "UnsupportedConnection",
    "Until",
    "cancel",
    "cancel_async",
    "current_job",
    "disable_schedule",
    "disable_schedule_async",
    "discard",
    "discard_async",
    "enable_schedule",
    "enable_schedule_async",
    "enqueue",
    "enqueue_async",
    "enqueue_many",
    "enqueue_many_async",
    "retry",
    "retry_async",
    "run_schedule_now",
    "run_schedule_now_async",
    "schedule",
    "schedule_async",
    "unschedule",
    "unschedule_async",
]
