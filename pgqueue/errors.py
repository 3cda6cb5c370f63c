"""Every error pgqueue raises. Each holds its data, and says what, which, and what to do."""

from collections.abc import Collection, Sequence
from typing import Any


class PgqueueError(Exception):
    """Anything that pgqueue itself refuses or finds wrong."""


class InvalidPayload(PgqueueError):
    """A value cannot be stored exactly as JSON. Raised at enqueue, before any statement is sent."""

    def __init__(self, path: str, problem: str, advice: str) -> None:
        self.path = path
        super().__init__(f"{path}: {problem}; {advice}")


class UndecodablePayload(PgqueueError):
    """Stored JSON cannot be turned back into the value it was."""

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(problem)


class LargePayload(UserWarning):
    """A payload is large enough to slow the queue down, though not refused."""


class InvalidOption(PgqueueError):
    """An option of a task, a queue or an enqueue is out of range."""

    def __init__(self, option: str, problem: str) -> None:
        self.option = option
        super().__init__(f"{option}: {problem}")


class UnknownTask(PgqueueError):
    """A name was given that no registered task has."""

    def __init__(self, name: str, known: Collection[str]) -> None:
        self.name = name
        super().__init__(
            f"no task named {name!r} is registered (registered: "
            f"{', '.join(sorted(known)) or 'none'}); import the module that defines it"
        )


class DuplicateTask(PgqueueError):
    """Two functions claim one task name."""

    def __init__(self, name: str, first: str, second: str) -> None:
        self.name = name
        super().__init__(
            f"task name {name!r} is taken by {first}, and {second} wants it too; rename one of them"
        )


class IdempotencyConflict(PgqueueError):
    """A job with this key exists, and it was enqueued with other arguments.

    *results* are those of the whole call, in order: of ``enqueue_many`` the jobs without a conflict
    were inserted in your transaction, and stay there unless you roll it back.
    """

    def __init__(self, key: str, job_id: int, results: Sequence[Any] = ()) -> None:
        self.key = key
        self.job_id = job_id
        self.results = results
        super().__init__(
            f"key {key!r} already belongs to job {job_id}, which has other arguments; "
            "use a key that differs whenever the arguments do"
        )


class UnsupportedConnection(PgqueueError):
    """A job cannot be enqueued or finished on what was given."""

    def __init__(self, given: object, advice: str) -> None:
        kind = type(given)
        super().__init__(f"cannot use a {kind.__module__}.{kind.__qualname__}: {advice}")


class SchemaMismatch(PgqueueError):
    """The database's pgqueue schema is missing, or older than what this code was written for."""

    def __init__(self, found: str | None, wanted: str) -> None:
        self.found = found
        self.wanted = wanted
        state = f"is at {found}" if found else "is missing or older than this code"
        super().__init__(
            f"the pgqueue schema in this database {state}, and {wanted} is needed; "
            "run: pgqueue migrate"
        )


class ForeignDatabase(PgqueueError):
    """The database is a copy or a restore: its jobs belong to another database."""

    def __init__(self) -> None:
        super().__init__(
            "this database was copied or restored from another one, whose jobs may still run "
            "there; if the jobs in it shall run here, run: pgqueue adopt"
        )


class OtherDatabase(PgqueueError):
    """A transactional handler's connection is not on the database the job lives in."""

    def __init__(self) -> None:
        super().__init__(
            "the handler's connection is on another database than the worker's: its work and the "
            "job's completion cannot commit together; give the tasks a connection to the same one"
        )


class LeaseLost(PgqueueError):
    """The job was taken from this worker; nothing it writes about the job counts any more."""

    def __init__(self, job_id: int, attempt: int) -> None:
        self.job_id = job_id
        self.attempt = attempt
        super().__init__(
            f"job {job_id} is no longer held by attempt {attempt} of this worker; its work is void"
        )


class JobNotFound(PgqueueError):
    """No job has this id."""

    def __init__(self, job_id: int) -> None:
        self.job_id = job_id
        super().__init__(
            f"no job {job_id}: it never existed, was rolled back, or its history is over"
        )
