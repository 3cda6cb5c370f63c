"""Tasks: functions that workers find by name, and the new jobs that call them."""

import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import (
    Any,
    Concatenate,
    Generic,
    Literal,
    NamedTuple,
    ParamSpec,
    Protocol,
    TypeVar,
    cast,
    overload,
)

from pgqueue.backoff import Backoff, Exponential
from pgqueue.coding.codec import LIMIT, Codec
from pgqueue.context import Context, current_job
from pgqueue.errors import (
    DuplicateSchedule,
    DuplicateTask,
    InvalidOption,
    UndecodablePayload,
    UnknownTask,
)
from pgqueue.job import Job
from pgqueue.options import UNSET, Keep, NewJob, Seconds, Unset, check, check_text, milliseconds
from pgqueue.policy import Policy, Verdict
from pgqueue.safety import Authorize, Safety
from pgqueue.secrecy.guard import Mode
from pgqueue.secrecy.keyring import KeyRing
from pgqueue.secrecy.sealing import is_sealed
from pgqueue.signature import Signature
from pgqueue.timetable.schedule import NewSchedule

P = ParamSpec("P")
R = TypeVar("R")
H = TypeVar("H", bound=Callable[..., Any])

Executor = Literal["async", "thread", "process"]
Heartbeat = Literal["auto", "manual"]
Middleware = Callable[[Context, Callable[[], Awaitable[Any]]], Awaitable[Any]]
Lifespan = Callable[[], AbstractAsyncContextManager[Any]]
TransactionFactory = Callable[[], Any]
"""Returns a (sync or async) context manager that gives a connection or a session."""


OnUnknown = Callable[[Context, str], bool | Awaitable[bool | None] | None]
"""Says of what ``ctx.once`` guards, by its key, whether it happened; None: it does not know."""


class Pace(NamedTuple):
    """What a task says of the time its attempts take, in seconds."""

    heartbeat: Heartbeat = "auto"
    lease: float | None = None
    target_runtime: float | None = 60.0


class Task(Generic[P, R]):
    """A registered function. Make jobs of it with :meth:`job`; call it to run it here and now."""

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        defaults: NewJob,
        policy: Policy,
        executor: Executor,
        transactional: bool,
        aliases: Iterable[str],
        payload_limit: int,
        safety: Safety,
        pace: Pace,
        on_unknown: OnUnknown | None = None,
    ) -> None:
        self.function = function
        self.name = defaults.task
        self.defaults = defaults
        self.safety = safety
        self.policy = policy
        self.executor = executor
        self.transactional = transactional
        self.on_unknown = on_unknown
        self.aliases = tuple(aliases)
        self.signature = Signature(function, self.name)
        self.heartbeat = pace.heartbeat
        self.lease = pace.lease
        self.target_runtime = pace.target_runtime
        self.has_terms = pace.lease is not None or pace.heartbeat == "manual"
        self._payload_limit = payload_limit
        self._codec: Codec | None = None

    @property
    def encrypts(self) -> bool:
        """Whether arguments of its jobs, and all that they come to, are encrypted."""
        return self.safety.encrypts

    @property
    def codec(self) -> Codec:
        """JSON for this task's arguments and result; knows the types its annotations name."""
        if self._codec is None:
            self._codec = Codec(self.signature.named_types())
        return self._codec

    def job(self, *args: P.args, **kwargs: P.kwargs) -> NewJob:
        """Return a job that will call this task with these arguments.

        Enums and dataclasses among them are those that the function's annotations name, however
        deep; a subclass has to be named beside its base (``Shape | Circle``).

        Raises :class:`TypeError` if they do not fit the function, :class:`InvalidPayload` if one of
        them cannot be stored exactly.
        """
        arguments = self.signature.bind(args, kwargs)
        return NewJob(self.name, self.encode(arguments, "args"), *self.defaults[2:])

    def encode(self, value: Any, what: str) -> str:
        """Return *value* as JSON text, within the limit of ``Tasks(payload_limit=…)``."""
        return self.codec.dumps(value, what=what, limit=self._payload_limit)

    def encode_result(self, job: Job, value: Any) -> str:
        """Return what the function returned for *job* as it is stored: without credentials, and
        encrypted if the task says so."""
        return self.safety.stored_result(job, self.encode(value, "result"))

    def read_result(self, stored: str, *, job_id: int, task: str | None = None) -> Any:
        """Return the value of a stored result. *task*: the name the job knew this task by, if it
        was another. Raises :class:`UndecodablePayload`."""
        return self.codec.loads(self.safety.opened(stored, task or self.name, job_id, "result"))

    def decode(self, args: str, *, job_id: int = 0, task: str | None = None) -> dict[str, Any]:
        """Turn the stored arguments of a job into keyword arguments for the function. *job_id* and
        *task* are the job's own, to which they are bound if they are encrypted.

        Raises :class:`UndecodablePayload` if they are corrupt, cannot be decrypted, or no longer
        fit it.
        """
        opened = args
        if is_sealed(args):
            opened = self.safety.opened_arguments(args, task or self.name, job_id)
        arguments = self.codec.loads(opened)
        if not isinstance(arguments, dict):
            raise UndecodablePayload(f"args must be a JSON object, found {args[:80]}")
        self.signature.check(arguments)
        return arguments

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function itself, without a queue. A context it wants is that of the running job,
        unless one is given (in a test, say)."""
        given: tuple[Any, ...] = args
        if self.signature.takes_context and not (given and isinstance(given[0], Context)):
            given = (current_job(), *given)
        return cast(R, self.function(*given, **kwargs))

    def __repr__(self) -> str:
        return f"<Task {self.name!r}>"


class TaskDecorator(Protocol):
    """Turns a function into a :class:`Task`; an injected ``ctx`` is no argument of its jobs."""

    @overload
    def __call__(self, function: Callable[Concatenate[Context, P], R], /) -> Task[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Task[P, R]: ...


class Tasks:
    """The tasks of an application: what a worker is given, and what jobs are made from.

    *transaction* returns a context manager that gives a connection or a session on the database
    the jobs live in (``sessionmaker(engine)``, ``pool.connection``): transactional tasks do their
    work and finish their job in it. *lifespan* is an async context manager around the life of a
    worker process; what it yields is ``ctx.state``. *payload_limit*: bytes of JSON that the
    arguments of a job, or its result, may have; 1 MiB. *timezone*: that of schedules which name
    none; ``"UTC"``.

    *credentials*, *allow* and *authorize* are the tasks' own unless a task says otherwise: see
    :meth:`task`. *keys*: what ``encrypt=`` encrypts with."""

    def __init__(
        self,
        *,
        transaction: TransactionFactory | None = None,
        lifespan: Lifespan | None = None,
        payload_limit: int = LIMIT,
        credentials: Mode = "strict",
        allow: Iterable[str] = (),
        authorize: Authorize | None = None,
        keys: KeyRing | None = None,
        timezone: str = "UTC",
    ) -> None:
        self._safety = Safety.of(credentials, allow, authorize, keys)
        self.timezone = timezone
        self.schedules: dict[str, NewSchedule] = {}
        """The declared schedules, by name."""
        self.transaction = transaction
        self.lifespan = lifespan
        self.payload_limit = payload_limit
        self.middlewares: list[Middleware] = []
        self.attempt_failed_hooks: list[Callable[..., Any]] = []
        self.dead_hooks: list[Callable[..., Any]] = []
        self.succeeded_hooks: list[Callable[..., Any]] = []
        self._by_name: dict[str, Task[Any, Any]] = {}

    def task(
        self,
        name: str,
        *,
        queue: str | None = None,
        priority: int | None = None,
        max_attempts: int | None = None,
        max_crashes: int | None = None,
        timeout: Seconds | Unset | None = UNSET,
        keep: Seconds | Keep | None = None,
        on_dead_task: str | None = None,
        backoff: Backoff | None = None,
        retry_on: Mapping[type[BaseException], Verdict] | None = None,
        retry_if: Callable[[BaseException, int], Verdict] | None = None,
        executor: Executor | None = None,
        transactional: bool = False,
        aliases: Iterable[str] = (),
        credentials: Mode | None = None,
        allow: Iterable[str] = (),
        authorize: Authorize | None = None,
        actor_required: bool = False,
        encrypt: bool | Iterable[str] = False,
        heartbeat: Heartbeat = "auto",
        lease: Seconds | None = None,
        target_runtime: Seconds | None = 60.0,
        on_unknown: OnUnknown | None = None,
    ) -> TaskDecorator:
        """Register a function under *name*, the name jobs know it by for as long as they live.

        Options that are not given are decided by the queue, then by the defaults that
        :class:`NewJob` documents. *backoff*, *retry_on* and *retry_if* belong to the code that
        runs the job, see :class:`~pgqueue.policy.Policy`. *executor*: ``async def`` functions run
        on the event loop, others in ``"thread"`` unless ``"process"`` is asked for.
        *transactional*: run inside a transaction that also finishes the job. *aliases*: former
        names, still run. *heartbeat*: ``"auto"`` renews a job's lease for as long as its worker
        lives, ``"manual"`` only when the handler calls :meth:`Context.extend`. *lease*: how long
        its lease lasts, 1 s at least; as long as the worker's others unless said, and with
        ``"auto"`` no shorter. *target_runtime*: how long an attempt should take; one that takes
        longer is logged and counted, nothing else, ``None`` expects nothing.

        *credentials*: ``"strict"`` refuses a job whose arguments or metadata hold what looks like
        one, ``"warn"`` warns, ``"off"`` does not look; *allow*: paths at which it may be one, such
        as ``args.token``. *authorize*: asked with the context right before the handler, in its
        transaction if it has one; a job that it says no to is dead, ``unauthorized``, and not tried
        again; asked anew after a redrive. *actor_required*: refuse a job that runs on nobody's
        behalf. *encrypt*: encrypt the arguments, or those that are named, and results and errors
        too, with ``Tasks(keys=...)``.

        *on_unknown*: asked with the context and the key about what :meth:`Context.once` guards and
        nobody knows the outcome of: True, it has happened and is not done again; False, it has not,
        and is; None, or no *on_unknown*: the job is dead, ``unknown_outcome``, for a person to
        decide. May be async; in a thread it is then run on an event loop of its own.
        """
        if on_unknown is not None and not callable(on_unknown):
            raise InvalidOption("on_unknown", f"must be callable, not {on_unknown!r:.80}")
        if isinstance(aliases, str):
            raise InvalidOption("aliases", f"must be a list of names, not the text {aliases!r:.80}")
        aliases = tuple(aliases)
        for option, text in [("name", name), *(("aliases", alias) for alias in aliases)]:
            check_text(option, "" if text is None else text, 200)
        defaults = check(
            NewJob(
                name,
                queue=queue,
                priority=priority,
                max_attempts=max_attempts,
                max_crashes=max_crashes,
                timeout=timeout,
                keep=keep,
                on_dead_task=on_dead_task,
            )
        )
        policy = Policy(
            backoff=backoff or Exponential(), retry_on=retry_on or {}, retry_if=retry_if
        )

        safety = self._safety.of_task(
            credentials, allow, authorize, actor_required=actor_required, encrypt=encrypt
        )
        pace = _pace(heartbeat, lease, target_runtime)

        def register(function: Callable[..., Any]) -> Task[Any, Any]:
            task: Task[Any, Any] = Task(
                function,
                defaults=defaults._replace(rules=safety.rules),
                safety=safety,
                policy=policy,
                executor=_executor(function, name, executor, transactional),
                transactional=transactional,
                aliases=aliases,
                payload_limit=self.payload_limit,
                pace=pace,
                on_unknown=on_unknown,
            )
            safety.check_arguments(task.signature.names, takes_any=task.signature.takes_any)
            self._add(task)
            return task

        return cast(TaskDecorator, register)

    def cron(
        self,
        cron: str | None = None,
        /,
        *,
        name: str | None = None,
        args: Mapping[str, Any] | None = None,
        tz: str | None = None,
        every: Seconds | None = None,
        seconds: Literal["first"] | None = None,
        misfire: str = "one",
        misfire_max: int = 100,
        grace: Seconds = 60,
        overlap: str | None = None,
        jitter: Seconds = 0,
        start_at: datetime | None = None,
        end_at: datetime | None = None,
        max_runs: int | None = None,
        **options: Any,
    ) -> Callable[[Task[P, R]], Task[P, R]]:
        """Call a task again and again: ``@tasks.cron("0 9 * * *", tz="Asia/Tokyo")`` above
        ``@tasks.task(...)``, or ``tasks.cron(...)(task)``.

        A worker writes it down when it starts. *name* is the task's by default; *args* are the
        task's arguments, the same at each tick (``ctx.scheduled_for`` is which one it is). The rest
        are the fields of :class:`NewSchedule`, and *options* of its jobs.

        Raises :class:`InvalidOption` here and now for what can never be due.
        """

        def declare(task: Task[P, R]) -> Task[P, R]:
            if not isinstance(task, Task):
                raise InvalidOption(
                    "cron", f"{task!r} is no task; @tasks.cron(...) goes above @tasks.task(...)"
                )
            call: Callable[..., NewJob] = task.job
            schedule = NewSchedule(
                name=task.name if name is None else name,
                job=call(**(args or {})).options(**options),
                cron=cron,
                every=every,
                seconds=seconds,
                tz=self.timezone if tz is None else tz,
                misfire=misfire,
                misfire_max=misfire_max,
                grace=grace,
                overlap=overlap,
                jitter=jitter,
                start_at=start_at,
                end_at=end_at,
                max_runs=max_runs,
            )
            if schedule.name in self.schedules:
                raise DuplicateSchedule(schedule.name)
            self.schedules[schedule.name] = schedule
            return task

        return declare

    def middleware(self, function: Middleware) -> Middleware:
        """Wrap every job: ``async def around(ctx, call_next): return await call_next()``."""
        self.middlewares.append(function)
        return function

    def on_attempt_failed(self, hook: H) -> H:
        """Call *hook* with a :class:`JobEvent` after each failed attempt was written.

        Hooks run in the worker that wrote the outcome, at most once; one that raises is logged and
        changes nothing. For a reaction that must happen use ``on_dead_task=``.
        """
        self.attempt_failed_hooks.append(hook)
        return hook

    def on_dead(self, hook: H) -> H:
        """Call *hook* with a :class:`JobEvent` after a job went from here to the dead letter.

        At most once, and not for a death that no worker of the job lived to write: by rescue, or
        because it was not to start any more. ``on_dead_task=`` reacts to every death.
        """
        self.dead_hooks.append(hook)
        return hook

    def on_succeeded(self, hook: H) -> H:
        """Call *hook* with a :class:`JobEvent` after a job's success was written."""
        self.succeeded_hooks.append(hook)
        return hook

    @property
    def keys(self) -> KeyRing | None:
        """What ``encrypt=`` encrypts with."""
        return self._safety.keys

    @property
    def names(self) -> list[str]:
        """Every name a worker with these tasks can run, aliases included, sorted."""
        return sorted(self._by_name)

    def __getitem__(self, name: str) -> Task[Any, Any]:
        """Return the task of this name or alias. Raises :class:`UnknownTask`."""
        try:
            return self._by_name[name]
        except KeyError:
            raise UnknownTask(name, self._by_name) from None

    def __iter__(self) -> Iterator[Task[Any, Any]]:
        """The registered tasks, each once."""
        return (task for name, task in self._by_name.items() if name == task.name)

    @property
    def targets(self) -> dict[str, float | None]:
        """The seconds that an attempt of each task is to take, by name."""
        return {task.name: task.target_runtime for task in self}

    def _add(self, task: Task[Any, Any]) -> None:
        for name in (task.name, *task.aliases):
            if name in self._by_name:
                raise DuplicateTask(name, _where(self._by_name[name]), _where(task))
        for name in (task.name, *task.aliases):
            self._by_name[name] = task


def _executor(
    function: Callable[..., Any], name: str, wanted: Executor | None, transactional: bool
) -> Executor:
    is_async = inspect.iscoroutinefunction(function)
    if wanted is None:
        return "async" if is_async else "thread"
    if wanted not in ("async", "thread", "process"):
        raise InvalidOption("executor", f"must be 'async', 'thread' or 'process', not {wanted!r}")
    if is_async != (wanted == "async"):
        kind = "an async def" if is_async else "a plain def"
        raise InvalidOption("executor", f"task {name!r} is {kind} and cannot run as {wanted!r}")
    if transactional and wanted == "process":
        raise InvalidOption(
            "executor",
            f"task {name!r} cannot be transactional in a process child: a transaction belongs to "
            "the process that opened it; use a thread",
        )
    return wanted


def _pace(heartbeat: Heartbeat, lease: Seconds | None, target: Seconds | None) -> Pace:
    if heartbeat not in ("auto", "manual"):
        raise InvalidOption("heartbeat", f"must be 'auto' or 'manual', not {heartbeat!r:.80}")
    seconds = [
        None if duration is None else milliseconds(duration, name) / 1000
        for name, duration in (("lease", lease), ("target_runtime", target))
    ]
    if seconds[0] is not None and seconds[0] < 1:
        raise InvalidOption("lease", f"must be at least 1 second, not {lease!r}")
    if seconds[1] == 0:
        raise InvalidOption("target_runtime", "must be longer than nothing; None expects nothing")
    return Pace(heartbeat, *seconds)


def _where(task: Task[Any, Any]) -> str:
    return f"{task.function.__module__}.{task.function.__qualname__}"
