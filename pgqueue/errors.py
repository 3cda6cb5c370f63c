"""Every error pgqueue raises. Each holds its data, and says what, which, and what to do."""

from collections.abc import Collection, Mapping, Sequence
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


class CredentialInPayload(PgqueueError):
    """What a job is given looks like a credential. Raised at enqueue, before any statement is
    sent."""

    def __init__(self, path: str, kind: str) -> None:
        self.path = path
        self.kind = kind
        super().__init__(
            f"{path} looks like {kind}: jobs are kept in tables and backups; pass a reference and "
            "let the job fetch it, have the task encrypt it, or, if it is none, say "
            f"allow=[{path!r}]"
        )


class CredentialWarning(UserWarning):
    """What a job is given, or returns, looks like a credential, and its task lets it pass."""


class PersonalData(UserWarning):
    """What a job is given looks like an e-mail address or a phone number. Only a hint."""


class InvalidOption(PgqueueError):
    """An option of a task, a queue or an enqueue is out of range."""

    def __init__(self, option: str, problem: str) -> None:
        self.option = option
        super().__init__(f"{option}: {problem}")


class MissingPackage(PgqueueError):
    """What was asked for needs a package that comes with an extra of pgqueue."""

    def __init__(self, purpose: str, package: str, extra: str) -> None:
        self.package = package
        super().__init__(
            f"{purpose} need the package {package}; install it: pip install 'pgqueue[{extra}]'"
        )


class PortTaken(PgqueueError):
    """Nothing can be served on a port."""

    def __init__(self, purpose: str, host: str, port: int, problem: str) -> None:
        self.port = port
        super().__init__(
            f"cannot answer {purpose} on {host}, port {port}: {problem}; choose another one"
        )


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


class InsecureConnection(PgqueueError):
    """A connection to another machine would be, or is, without TLS."""

    def __init__(self, host: str) -> None:
        self.host = host
        super().__init__(
            f"the connection to {host} would go over the network in the clear: have the server "
            "offer TLS and say sslmode=verify-full in the DSN (sslrootcert=system, or your CA's "
            "file); or, where the network itself is trusted, set PGQUEUE_REQUIRE_TLS=0"
        )


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


class Unauthorized(PgqueueError):
    """Whoever a job runs for may not have it run. Raised in ``authorize`` or by a handler: the job
    is dead at once, reason ``unauthorized``."""


class UnknownOutcome(PgqueueError):
    """An earlier attempt began what ``ctx.once`` guards, and nobody knows whether it happened. The
    job is dead at once, reason ``unknown_outcome``, until somebody says."""

    def __init__(self, task: str, key: str, *, job_id: int, attempt: int) -> None:
        self.key = key
        self.job_id = job_id
        self.attempt = attempt
        super().__init__(
            f"attempt {attempt} of job {job_id} began {key!r} of task {task!r}, and nobody knows "
            "whether it happened; find out, then: pgqueue effects resolve TASK KEY --happened (or "
            "--did-not-happen), and pgqueue jobs retry"
        )


class LeaseLost(PgqueueError):
    """The job was taken from this worker; nothing it writes about the job counts any more."""

    def __init__(self, job_id: int, attempt: int) -> None:
        self.job_id = job_id
        self.attempt = attempt
        super().__init__(
            f"job {job_id} is no longer held by attempt {attempt} of this worker; its work is void"
        )


class BatchNotFound(PgqueueError):
    """No batch has this id."""

    def __init__(self, batch_id: int) -> None:
        self.batch_id = batch_id
        super().__init__(
            f"no batch {batch_id}: it never existed, is not committed yet, was rolled back, or was "
            "over for 30 days"
        )


class JobNotFound(PgqueueError):
    """No job has this id."""

    def __init__(self, job_id: int) -> None:
        self.job_id = job_id
        super().__init__(
            f"no job {job_id}: it never existed, was rolled back, or its history is over"
        )


class ScheduleNotFound(PgqueueError):
    """No schedule has this name."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"no schedule {name!r}; pgqueue schedules list names those that there are")


class DuplicateSchedule(PgqueueError):
    """Two declared schedules have one name."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"there is a schedule {name!r} already; a task's second schedule needs a name: name=..."
        )


class JobDead(PgqueueError):
    """The job that was waited for is dead. A person may redrive it later: then wait again."""

    def __init__(
        self,
        job_id: int,
        *,
        task: str,
        reason: str | None,
        error_type: str | None,
        message: str | None,
        attempts: int,
    ) -> None:
        self.job_id = job_id
        self.task = task
        self.reason = reason
        self.error_type = error_type
        self.message = message
        self.attempts = attempts
        """How many attempts it was charged with."""
        what = ": ".join(part for part in (error_type, message) if part) or "no error is known"
        super().__init__(
            f"job {job_id} ({task}) is dead ({reason}), attempts: {attempts}: {what}; "
            f"see: pgqueue jobs show {job_id}"
        )


class JobCancelled(PgqueueError):
    """The job that was waited for was cancelled."""

    def __init__(self, job_id: int, *, task: str, reason: str | None) -> None:
        self.job_id = job_id
        self.task = task
        self.reason = reason
        super().__init__(f"job {job_id} ({task}) was cancelled" + (f": {reason}" if reason else ""))


class JobGone(PgqueueError):
    """The job that was waited for is in no table."""

    def __init__(self, job_id: int, *, state: str | None) -> None:
        self.job_id = job_id
        self.state = state
        """In which state it was last seen; ``None``: never."""
        super().__init__(
            f"job {job_id} was never seen: the transaction that enqueued it is not committed or "
            "was rolled back, or its history is over; commit before you wait"
            if state is None
            else f"job {job_id} was {state}, and has left no trace: its keep is 0; "
            "keep jobs whose results are wanted"
        )


class WaitTimeout(PgqueueError, TimeoutError):
    """Jobs were not over in time. They go on; only the wait has ended."""

    def __init__(self, states: Mapping[int, str | None], finished: Sequence[Any] = ()) -> None:
        self.states = dict(states)
        """Each job that is not over, and its state when it was last seen; ``None``: no answer."""
        self.finished = list(finished)
        """What :meth:`Waiter.wait_many` has of the others."""
        shown = [
            f"{job_id} ({state or 'the database did not answer'})"
            for job_id, state in sorted(self.states.items())[:5]
        ]
        more = ", ..." if len(states) > len(shown) else ""
        super().__init__(
            f"{len(states)} job(s) not over in time: {', '.join(shown)}{more}; "
            "they go on: wait again, or longer"
        )


class BatchTimeout(PgqueueError, TimeoutError):
    """A batch was not over in time. It goes on; only the wait has ended."""

    def __init__(self, status: Any) -> None:
        self.status = status
        """The :class:`BatchStatus` that was last seen."""
        super().__init__(
            f"batch {status.id} not over in time: {status.pending} of {status.total} jobs are "
            "left; they go on: wait again, or longer"
        )


class WaitInsideTransaction(PgqueueError):
    """A job was waited for inside the transaction that enqueued it."""

    def __init__(self, job_id: int) -> None:
        self.job_id = job_id
        super().__init__(
            f"job {job_id} was enqueued in a transaction that is still open, so nobody can run it "
            "yet; commit first, then wait"
        )


class WaitFailed(PgqueueError):
    """Nothing can be waited for, and trying again would not help."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"cannot wait for jobs: {problem}")
