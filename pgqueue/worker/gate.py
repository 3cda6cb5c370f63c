"""The gate before a handler: may whoever the job runs for have it run?

It is asked in the handler's own transaction where there is one. Any error of the question other
than :class:`Unauthorized` fails the attempt like the handler's own: a directory that is down says
neither yes nor no.
"""

import asyncio
import contextvars
import inspect
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import Any

from pgqueue.context import Context
from pgqueue.errors import Unauthorized
from pgqueue.safety import Authorize, Safety


async def pass_gate(
    safety: Safety, context: Context, threads: Executor, call: Callable[[], Awaitable[Any]]
) -> Any:
    """Ask, then await *call*. A question that is no coroutine is asked on one of *threads*: the
    event loop is everybody's."""
    authorize = _question(safety, context)
    if authorize is not None:
        if inspect.iscoroutinefunction(authorize):
            answer: Any = authorize(context)
        else:
            ask = contextvars.copy_context().run
            loop = asyncio.get_running_loop()
            answer = await loop.run_in_executor(threads, ask, authorize, context)
        _require(await answer if inspect.isawaitable(answer) else answer, context)
    return await call()


def pass_gate_in_thread(
    safety: Safety,
    context: Context,
    loop: asyncio.AbstractEventLoop,
    call: Callable[[], Any],
) -> Any:
    """Ask, then *call*, in this thread, which may have a transaction open. A coroutine is run on
    the event loop, and waited for."""
    authorize = _question(safety, context)
    if authorize is not None:
        answer = authorize(context)
        if inspect.isawaitable(answer):
            answer = asyncio.run_coroutine_threadsafe(_awaited(answer), loop).result()
        _require(answer, context)
    return call()


def _question(safety: Safety, context: Context) -> Authorize | None:
    """Return whom to ask. Raises :class:`Unauthorized` for a job of nobody that must be
    somebody's."""
    if safety.actor_required and context.actor is None:
        raise Unauthorized(f"task {context.task!r} runs on somebody's behalf only; no actor is set")
    return safety.authorize


def _require(answer: Any, context: Context) -> None:
    if not answer:
        raise Unauthorized(f"actor {context.actor!r:.80} may not have this job run")


async def _awaited(answer: Awaitable[bool]) -> bool:
    return await answer
