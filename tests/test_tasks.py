"""Tasks: found by name, called with the arguments they declare, or a clear error at once."""

import importlib
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, StrEnum
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    TypedDict,
    TypeVar,
)
from uuid import UUID

import pytest

import pgqueue
from pgqueue import (
    Context,
    DuplicateTask,
    InvalidOption,
    InvalidPayload,
    NewJob,
    PgqueueError,
    Tasks,
    UndecodablePayload,
    UnknownTask,
)
from pgqueue.job import Job, Reason
from pgqueue.outcome import Died, Outcome, Succeeded
from pgqueue.signature import Signature
from pgqueue.worker import attempt

ROOT = Path(pgqueue.__file__).parents[1]
NOW = datetime(2026, 11, 24, 9, tzinfo=UTC)


def job_of(new: NewJob) -> Job:
    return Job(7, 1, "q", new.task, 100, NOW, NOW, 0, 0, 5, 3, None, None, new.args, None)


def run(tasks: Tasks, new: NewJob) -> Outcome:
    """What a plain function's attempt comes to."""
    job = job_of(new)
    return copy_context().run(attempt.run, tasks[job.task], Context(job))


# Arguments


def test_a_job_carries_the_arguments_by_name() -> None:
    tasks = Tasks()

    @tasks.task("add")
    def add(a: int, b: int = 2, *, c: int = 3) -> int:
        return a + b + c

    assert add.job(1) == NewJob("add", '{"a":1}')
    assert add.job(1, 5, c=6).args == '{"a":1,"b":5,"c":6}'
    assert add.decode(add.job(b=5, a=1).args) == {"a": 1, "b": 5}
    outcome = run(tasks, add.job(10, c=1))
    assert isinstance(outcome, Succeeded)
    assert outcome.result == "13"
    assert add(1) == 6


@pytest.mark.parametrize(
    ("args", "kwargs", "problem"),
    [
        ((), {}, "missing a required argument: 'user_id'"),
        ((1, "x", 3), {}, "too many positional arguments"),
        ((1,), {"user_id": 2}, "multiple values for argument 'user_id'"),
        ((1,), {"tempalte": "x"}, "got an unexpected keyword argument 'tempalte'"),
    ],
)
def test_arguments_that_do_not_fit_are_a_type_error_at_the_enqueue(
    args: tuple[Any, ...], kwargs: dict[str, Any], problem: str
) -> None:
    tasks = Tasks()

    @tasks.task("send")
    def send(user_id: int, template: str = "welcome") -> None: ...

    with pytest.raises(TypeError, match=rf"^send\(user_id: int, template.*: {problem}"):
        send.job(*args, **kwargs)


def test_any_keywords_may_be_taken() -> None:
    tasks = Tasks()

    @tasks.task("log")
    def log(event: str, **fields: object) -> list[str]:
        return [event, *fields]

    outcome = run(tasks, log.job("start", user=1, at="noon"))
    assert isinstance(outcome, Succeeded)
    assert outcome.result == '["start","user","at"]'


class Colour(Enum):
    RED = "red"


class Size(StrEnum):
    SMALL = "s"


@dataclass
class Line:
    sku: UUID
    price: Decimal


@dataclass
class Order:
    lines: list[Line]
    due: date
    colour: Colour | None = None


def test_arguments_come_back_as_what_they_were() -> None:
    tasks = Tasks()
    seen: list[Any] = []

    @tasks.task("ship")
    def ship(order: Order, size: Size, at: datetime, wait: timedelta, blob: bytes) -> Order:
        seen.extend([order, size, at, wait, blob])
        return order

    order = Order([Line(UUID(int=5), Decimal("1.10"))], date(2026, 2, 28), Colour.RED)
    given: Any = [order, Size.SMALL, NOW, timedelta(days=1, microseconds=1), b"\0\xff"]
    outcome = run(tasks, ship.job(*given))

    assert seen == given
    assert type(seen[1]) is Size
    assert isinstance(outcome, Succeeded)
    assert outcome.result is not None
    assert ship.codec.loads(outcome.result) == order


class Cart(TypedDict):
    colours: "list[Colour]"
    inner: "NotRequired[Cart]"


class Pair(NamedTuple):
    colour: Colour
    times: int


Bounded = TypeVar("Bounded", bound=Colour)
Constrained = TypeVar("Constrained", Colour, Size)
Named = NewType("Named", Colour)
NamedTwice = NewType("NamedTwice", Named)


@pytest.mark.parametrize(
    "hint",
    [
        Literal[Colour.RED, "none"],
        Named,
        NamedTwice,
        list[Bounded],
        Constrained,
        Cart,
        Pair,
        dict[str, "Colour"],
        Annotated[Colour, {"unhashable": ({},)}],
        Callable[[Colour], None],
    ],
    ids=str,
)
def test_a_type_is_found_wherever_the_annotation_names_it(hint: Any) -> None:
    def paint(colour: Any) -> None: ...

    paint.__annotations__ = {"colour": hint}
    job = Tasks().task("paint")(paint).job(colour=Colour.RED)
    assert job.args == '{"colour":{"$enum":["Colour","RED"]}}'


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the syntax is newer")
def test_a_type_is_found_behind_an_alias(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "aliased.py").write_text(
        "from tests.test_tasks import Colour\n"
        "type Colours[T] = list[T] | Colours[T]\n"
        "type Some = Colours[Colour]\n"
        "def paint(colours: Some) -> None: ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    paint = importlib.import_module("aliased").paint
    assert Tasks().task("paint")(paint).job(colours=[]).args == '{"colours":[]}'
    assert {found.__name__ for found in Signature(paint, "paint").named_types()} == {"Colour"}


@dataclass
class Rush(Order):
    hours: int = 1


def test_a_subclass_is_known_when_it_is_named_as_well() -> None:
    def ship(order: Order) -> None: ...
    def ship_either(order: Order | Rush) -> None: ...

    rush = Rush([], date(2026, 2, 28))
    with pytest.raises(InvalidPayload, match=r"^args\.order: Rush is a type that .* do not name"):
        Tasks().task("ship")(ship).job(rush)
    either = Tasks().task("ship")(ship_either)
    assert either.decode(either.job(rush).args) == {"order": rush}


def test_a_result_that_cannot_be_stored_is_a_failed_attempt() -> None:
    tasks = Tasks()

    @tasks.task("leak")
    def leak() -> object:
        return {"connection": object()}

    outcome = run(tasks, leak.job())
    assert not isinstance(outcome, Succeeded)
    assert "result.connection" in outcome.failure.message  # type: ignore[union-attr]


# The context


def test_a_first_parameter_of_type_context_is_injected_and_no_argument() -> None:
    tasks = Tasks()

    @tasks.task("import")
    def import_file(ctx: Context, path: str) -> str:
        return f"{path} by attempt {ctx.attempt} of job {ctx.id}"

    assert import_file.job("a.csv") == NewJob("import", '{"path":"a.csv"}')
    outcome = run(tasks, import_file.job(path="a.csv"))
    assert isinstance(outcome, Succeeded)
    assert outcome.result == '"a.csv by attempt 1 of job 7"'


def test_the_context_may_be_annotated_by_a_string() -> None:
    tasks = Tasks()

    def plain(ctx: "Context", n: int) -> int:
        return ctx.run + n

    def dotted(ctx: "pgqueue.Context", n: int) -> int:
        return ctx.run + n

    for name, function in (("plain", plain), ("dotted", dotted)):
        task = tasks.task(name)(function)
        outcome = run(tasks, task.job(n=1))
        assert isinstance(outcome, Succeeded), outcome
        assert outcome.result == "2"


def test_a_context_is_whatever_its_name_is_and_only_in_the_first_place() -> None:
    tasks = Tasks()

    @tasks.task("named")
    def named(job: Context) -> None: ...

    @tasks.task("ctx")
    def merely_named(ctx: int) -> None: ...

    assert named.job().args == "{}"
    assert merely_named.job(ctx=1).args == '{"ctx":1}'


def test_a_task_called_directly_has_the_running_jobs_context() -> None:
    tasks = Tasks()

    @tasks.task("inner")
    def inner(ctx: Context, n: int) -> tuple[int, int]:
        return ctx.id, n

    @tasks.task("outer")
    def outer() -> list[int]:
        return list(inner(5))

    outcome = run(tasks, outer.job())
    assert isinstance(outcome, Succeeded), outcome
    assert outcome.result == "[7,5]"


def test_a_task_called_directly_takes_a_context_of_a_tests_own() -> None:
    tasks = Tasks()

    @tasks.task("inner")
    def inner(ctx: Context, n: int) -> tuple[int, int]:
        return ctx.id, n

    context = Context(job_of(NewJob("inner")))
    assert inner(context, 5) == (7, 5)  # type: ignore[arg-type, call-arg]
    with pytest.raises(PgqueueError, match="no job is running here"):
        inner(5)


def test_the_current_job_is_known_anywhere_below_the_handler() -> None:
    tasks = Tasks()

    @tasks.task("deep")
    def deep() -> int:
        return pgqueue.current_job().id

    outcome = run(tasks, deep.job())
    assert isinstance(outcome, Succeeded)
    assert outcome.result == "7"
    with pytest.raises(PgqueueError, match="no job is running here"):
        pgqueue.current_job()


# Functions that no job can call


def test_parameters_without_a_name_are_refused_where_the_task_is_defined() -> None:
    tasks = Tasks()
    with pytest.raises(PgqueueError, match=r"task 'x': parameter \*args cannot be passed by name"):
        tasks.task("x")(lambda *args: None)

    def positional_only(a: int, /) -> None: ...

    with pytest.raises(PgqueueError, match="task 'x': parameter a: int cannot be passed by name"):
        tasks.task("x")(positional_only)
    assert tasks.names == []


# Names


def test_a_task_is_found_by_its_name_and_its_aliases() -> None:
    tasks = Tasks()

    @tasks.task("mail.send", aliases=["send_mail", "mail"])
    def send() -> None: ...

    assert tasks["mail.send"] is tasks["send_mail"] is tasks["mail"] is send
    assert tasks.names == ["mail", "mail.send", "send_mail"]
    assert list(tasks) == [send]
    assert send.job().task == "mail.send"


def test_a_job_of_a_former_name_is_run() -> None:
    tasks = Tasks()

    @tasks.task("new", aliases=["old"])
    def new(n: int) -> int:
        return n

    assert isinstance(run(tasks, NewJob("old", '{"n": 1}')), Succeeded)


@pytest.mark.parametrize(
    ("name", "aliases"),
    [("taken", []), ("alias", []), ("x", ["taken"]), ("x", ["y", "alias"])],
)
def test_a_name_is_taken_once(name: str, aliases: list[str]) -> None:
    tasks = Tasks()

    @tasks.task("taken", aliases=["alias"])
    def first() -> None: ...

    def second() -> None: ...

    with pytest.raises(DuplicateTask, match=r"is taken by .*, and .*second wants it too") as caught:
        tasks.task(name, aliases=aliases)(second)
    assert caught.value.name in (name, *aliases)
    assert tasks.names == ["alias", "taken"]


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    tasks = Tasks()
    with pytest.raises(UnknownTask, match=r"no task named 'x' .*registered: none"):
        tasks["x"]
    tasks.task("b")(lambda: None)
    tasks.task("a")(lambda: None)
    with pytest.raises(UnknownTask, match=r"no task named 'x' .*registered: a, b\); import"):
        tasks["x"]


# Arguments that no longer fit


@pytest.mark.parametrize(
    ("stored", "found"),
    [
        ('{"user": 1}', "stored arguments (user)"),
        ("{}", "stored arguments (none)"),
        ('{"user_id": 1, "z": 1, "lang": "de"}', "stored arguments (lang, user_id, z)"),
    ],
)
def test_arguments_that_no_longer_fit_are_undecodable_with_both_sides(
    stored: str, found: str
) -> None:
    tasks = Tasks()

    @tasks.task("send")
    def send(ctx: Context, user_id: int, template: str = "welcome") -> None: ...

    with pytest.raises(UndecodablePayload) as caught:
        send.decode(stored)
    assert found in str(caught.value)
    assert "send(user_id: int, template: str = 'welcome')" in str(caught.value)
    outcome = run(tasks, NewJob("send", stored))
    assert isinstance(outcome, Died)
    assert outcome.reason == Reason.UNDECODABLE
    assert found in outcome.failure.message


@pytest.mark.parametrize(
    ("stored", "problem"),
    [
        ("[1]", r"must be a JSON object, found \[1\]"),
        ("5", "must be a JSON object, found 5"),
        ('{"user_id": ', "stored text is not JSON"),
        ('{"user_id": {"$enum": ["Gone", "X"]}}', "Gone"),
    ],
)
def test_arguments_that_cannot_be_read_are_undecodable(stored: str, problem: str) -> None:
    tasks = Tasks()

    @tasks.task("send")
    def send(user_id: int) -> None: ...

    with pytest.raises(UndecodablePayload, match=problem):
        send.decode(stored)
    outcome = run(tasks, NewJob("send", stored))
    assert isinstance(outcome, Died)
    assert outcome.reason == Reason.UNDECODABLE


def test_an_error_of_the_handler_itself_is_not_undecodable() -> None:
    tasks = Tasks()

    @tasks.task("send")
    def send(user_id: int) -> None:
        raise TypeError("send() missing 1 required positional argument: 'user_id'")

    outcome = run(tasks, send.job(1))
    assert not isinstance(outcome, Died)


# Options


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("queue", ""),
        ("queue", 5),
        ("priority", -1),
        ("priority", 40_000),
        ("max_attempts", 0),
        ("max_attempts", "3"),
        ("max_crashes", 0),
        ("timeout", 0),
        ("timeout", "60"),
        ("keep", -1),
        ("on_dead_task", "x" * 201),
        ("executor", "fibre"),
        ("aliases", "old"),
        ("aliases", [""]),
        ("aliases", ["ok", 5]),
        ("aliases", ["x" * 201]),
    ],
)
def test_a_wrong_option_of_a_task_is_named_where_it_is_defined(option: str, value: Any) -> None:
    tasks = Tasks()
    with pytest.raises(InvalidOption, match=f"^{option}: ") as caught:
        tasks.task("x", **{option: value})(lambda: None)
    assert caught.value.option == option
    assert tasks.names == []


@pytest.mark.parametrize("name", ["", "x" * 201, 5, None, "a\0b", "a\ud800"])
def test_a_name_that_cannot_be_stored_is_refused(name: Any) -> None:
    with pytest.raises(InvalidOption, match=r"^name: "):
        Tasks().task(name)(lambda: None)


async def coroutine() -> None: ...


def plain() -> None: ...


@pytest.mark.parametrize(
    ("function", "options", "problem"),
    [
        (coroutine, {"executor": "thread"}, "'x' is an async def and cannot run as 'thread'"),
        (coroutine, {"executor": "process"}, "'x' is an async def and cannot run as 'process'"),
        (plain, {"executor": "async"}, "'x' is a plain def and cannot run as 'async'"),
        (plain, {"executor": "process", "transactional": True}, "'x' cannot be transactional"),
    ],
)
def test_an_executor_that_cannot_run_the_function_is_refused(
    function: Any, options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(InvalidOption, match=rf"^executor: task {problem}"):
        Tasks().task("x", **options)(function)


def test_the_executor_follows_from_the_function() -> None:
    tasks = Tasks()
    assert tasks.task("a")(coroutine).executor == "async"
    assert tasks.task("b")(plain).executor == "thread"
    assert tasks.task("c", executor="process")(plain).executor == "process"


def test_a_job_says_what_its_task_says_until_told_otherwise() -> None:
    tasks = Tasks()

    @tasks.task("x", queue="q", priority=5, timeout=None, keep=0, on_dead_task="y")
    def x() -> None: ...

    job = x.job()
    assert (job.queue, job.priority, job.timeout, job.keep, job.on_dead_task) == (
        ("q", 5, None, 0, "y")
    )
    changed = job.options(priority=1, delay=timedelta(minutes=1))
    assert (changed.priority, changed.queue, changed.args) == (1, "q", "{}")
    assert job.priority == 5
    with pytest.raises(InvalidOption, match=r"colour: no such option \(there are: actor, "):
        job.options(colour="red")
    with pytest.raises(InvalidOption, match=r"^args: no such option"):
        job.options(args="{}")


def test_an_argument_is_checked_before_the_job_is_made() -> None:
    tasks = Tasks()

    @tasks.task("x")
    def x(user: dict[str, object]) -> None: ...

    with pytest.raises(InvalidPayload, match=r"^args\.user\.id: "):
        x.job({"id": object()})


# Types

CALLS = """
    from typing import assert_type
    from pgqueue import Context, Keep, NewJob, Task, Tasks, enqueue, enqueue_async, Enqueued
    import psycopg

    tasks = Tasks()

    @tasks.task("send", queue="email", max_attempts=5)
    async def send(user_id: int, *, template: str = "welcome") -> bool:
        return True

    @tasks.task("import")
    def import_file(ctx: Context, path: str) -> int:
        return ctx.id

    @tasks.task("bare")
    def bare() -> None: ...

    assert_type(send.job(1), NewJob)
    send.job(user_id=1, template="bye").options(priority=1, delay=5)
    import_file.job("a.csv")
    import_file.job(path="a.csv")
    bare.job()
    assert_type(import_file("a.csv"), int)

    async def use(connection: psycopg.Connection[object], other: object) -> None:
        assert_type(enqueue(connection, send.job(1), key="k"), Enqueued)
        assert_type(await enqueue_async(other, bare.job(), timeout=None, keep=Keep(0)), Enqueued)
        assert_type(await send(1), bool)

    send.job()  # E
    send.job("1")  # E
    send.job(1, "bye")  # E
    send.job(1, tempalte="bye")  # E
    send.job(1, template=5)  # E
    send.job(None)  # E
    import_file.job()  # E
    import_file.job(5)  # E
    import_file.job(1, "a.csv")  # E
    bare.job(1)  # E
    tasks.task("x", queue=5)  # E
    tasks.task("x", colour="red")  # E
    tasks.task("x", executor="fibre")  # E
    tasks.task("x", timeout="60")  # E
    send.job(1).options(prioritty=1)  # E
    send.job(1).options(priority="1")  # E
    enqueue(None, send.job(1), prioritty=1)  # E
    enqueue(None, send.job(1), delay="5")  # E
    enqueue(None, send.job(1), on_conflict="ignore")  # E
    enqueue(None, send)  # E
    enqueue(None, "send")  # E
"""


def test_wrong_arguments_are_errors_of_mypy_and_right_ones_are_none(tmp_path: Path) -> None:
    program = tmp_path / "calls.py"
    program.write_text(textwrap.dedent(CALLS))
    lines = program.read_text().splitlines()
    answer = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", str(program)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    wrong = {int(n) for n in re.findall(r"calls\.py:(\d+): error:", answer.stdout)}

    assert answer.stderr == ""
    assert wrong == {n for n, line in enumerate(lines, 1) if line.endswith("# E")}, answer.stdout
