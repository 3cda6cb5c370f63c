"""Look at what was enqueued on a connection, in its transaction or before it, run or not."""

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from pgqueue.coding.codec import Codec
from pgqueue.errors import InvalidOption, UndecodablePayload
from pgqueue.job import State
from pgqueue.secrecy.redaction import concealed
from pgqueue.secrecy.sealing import is_sealed
from pgqueue.storage.drivers import run, run_async
from pgqueue.storage.rehearsal import EnqueuedRow, list_enqueued
from pgqueue.tasks import Task
from pgqueue.testing.values import EnqueuedJob

AnyTask = Task[..., Any]

_SHOWN = 20
_FIELDS = frozenset(field.name for field in fields(EnqueuedJob)) | {"delay"}
_PLAIN = Codec()
_ABSENT = object()


def enqueued_jobs(connection: Any, task: AnyTask | str | None = None) -> list[EnqueuedJob]:
    """Return the jobs of *task*, or of all, that were enqueued and are not forgotten, oldest first.

    Given the task itself, not its name, arguments are as its handler gets them. *connection* is one
    that :func:`pgqueue.enqueue` takes.
    """
    return _jobs(run(connection, list_enqueued(_names(task))), task)


async def enqueued_jobs_async(
    connection: Any, task: AnyTask | str | None = None
) -> list[EnqueuedJob]:
    """:func:`enqueued_jobs` on an asynchronous connection or session."""
    return _jobs(await run_async(connection, list_enqueued(_names(task))), task)


def assert_enqueued(
    connection: Any,
    task: AnyTask | str,
    *,
    containing: Mapping[str, Any] | None = None,
    count: int | None = None,
    **expected: Any,
) -> list[EnqueuedJob]:
    """Assert that jobs of *task* were enqueued, and return them: *count*, or at least one.

    *containing*: arguments that they must have; others are allowed. *expected*: fields of
    :class:`EnqueuedJob`, such as ``queue``, ``key``, ``state`` or ``delay``. Whatever is compared
    by ``==`` may be a matcher, such as ``unittest.mock.ANY``. The error lists what was enqueued
    instead.
    """
    __tracebackhide__ = True
    jobs = _jobs(run(connection, list_enqueued(None)), task)
    return _judge(jobs, task, containing, count, expected)


async def assert_enqueued_async(
    connection: Any,
    task: AnyTask | str,
    *,
    containing: Mapping[str, Any] | None = None,
    count: int | None = None,
    **expected: Any,
) -> list[EnqueuedJob]:
    """:func:`assert_enqueued` on an asynchronous connection or session."""
    __tracebackhide__ = True
    jobs = _jobs(await run_async(connection, list_enqueued(None)), task)
    return _judge(jobs, task, containing, count, expected)


def assert_not_enqueued(
    connection: Any,
    task: AnyTask | str,
    *,
    containing: Mapping[str, Any] | None = None,
    **expected: Any,
) -> None:
    """Assert that no such job was enqueued, run or not. Like :func:`assert_enqueued`."""
    __tracebackhide__ = True
    assert_enqueued(connection, task, containing=containing, count=0, **expected)


async def assert_not_enqueued_async(
    connection: Any,
    task: AnyTask | str,
    *,
    containing: Mapping[str, Any] | None = None,
    **expected: Any,
) -> None:
    """:func:`assert_not_enqueued` on an asynchronous connection or session."""
    __tracebackhide__ = True
    await assert_enqueued_async(connection, task, containing=containing, count=0, **expected)


def _judge(
    jobs: list[EnqueuedJob],
    task: AnyTask | str,
    containing: Mapping[str, Any] | None,
    count: int | None,
    expected: Mapping[str, Any],
) -> list[EnqueuedJob]:
    __tracebackhide__ = True
    unknown = sorted(expected.keys() - _FIELDS)
    if unknown:
        raise InvalidOption(unknown[0], f"a job has no such field; it has {sorted(_FIELDS)}")
    names = _names(task) or ()
    found = [
        job
        for job in jobs
        if job.task in names
        and all(job.args.get(name, _ABSENT) == value for name, value in (containing or {}).items())
        and all(getattr(job, name) == value for name, value in expected.items())
    ]
    if len(found) == count or (count is None and found):
        return found
    wanted = repr(names[0])
    if containing:
        wanted += f" containing {dict(containing)}"
    if expected:
        wanted += " with " + ", ".join(f"{name}={value!r}" for name, value in expected.items())
    raise AssertionError(
        f"expected {'at least one job' if count is None else f'{count} job(s)'} of {wanted}, "
        f"found {len(found)}; {_listing(jobs)}"
    )


def _listing(jobs: list[EnqueuedJob]) -> str:
    if not jobs:
        return "no job at all was enqueued on this connection"
    lines = [f"  {job}" for job in jobs[-_SHOWN:]]
    if len(jobs) > _SHOWN:
        lines.insert(0, f"  ... and {len(jobs) - _SHOWN} before these")
    return "\n".join(["enqueued were:", *lines])


def _names(task: AnyTask | str | None) -> tuple[str, ...] | None:
    if task is None:
        return None
    return (task.name, *task.aliases) if isinstance(task, Task) else (task,)


def _jobs(rows: list[EnqueuedRow], task: AnyTask | str | None) -> list[EnqueuedJob]:
    names = _names(task) or ()
    known = task if isinstance(task, Task) else None
    return [
        EnqueuedJob(
            **row._asdict()
            | {
                "args": _args(row, known if row.task in names else None),
                "state": State(row.state),
                "metadata": json.loads(row.metadata or "{}"),
            }
        )
        for row in rows
    ]


def _args(row: EnqueuedRow, task: AnyTask | None) -> Any:
    """The arguments of a job, in the clear if its task is known."""
    if task is None:
        return _decoded(concealed(row.args), _PLAIN)
    if is_sealed(row.args):
        text = task.safety.opened_arguments(row.args, row.task, row.id)
        return _decoded(text, task.codec)
    return _decoded(row.args, task.codec)


def _decoded(text: str, codec: Codec) -> Any:
    """The value of JSON text; plain, where it holds types that nobody named."""
    try:
        return codec.loads(text)
    except UndecodablePayload:
        return json.loads(text)
