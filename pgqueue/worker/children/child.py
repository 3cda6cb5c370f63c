"""A process child: imports the tasks, then runs one job at a time for the worker that started it.

It runs no lifespan and opens no transaction: ``ctx.state`` is ``None`` here, ``ctx.transaction()``
raises. It ends with its parent, however that ends.
"""

import contextlib
import contextvars
import ctypes
import faulthandler
import functools
import logging
import mmap
import os
import queue
import resource
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

from pgqueue import tracer
from pgqueue.context import Context, Stop
from pgqueue.errors import PgqueueError, UnknownTask
from pgqueue.tasks import Tasks
from pgqueue.worker import attempt
from pgqueue.worker.children import forwarding
from pgqueue.worker.children.channel import (
    Channel,
    EndEarly,
    Ended,
    Exit,
    Failed,
    Hello,
    Leased,
    Logged,
    Ready,
    Run,
    Told,
)
from pgqueue.worker.children.teller import Teller
from pgqueue.worker.loading import load_tasks

_PR_SET_PDEATHSIG = 1
_ballast = mmap.mmap(-1, 16 * 1024 * 1024)
"""Address space, and nothing else, to throw off when a handler has used up all there is."""


def main(descriptor: int) -> None:
    """Serve the parent at the other end of this socket until it says Exit, or is gone."""
    die_with_parent()
    outlive_signals()
    with contextlib.suppress(OSError, RuntimeError, ValueError):  # no stderr
        faulthandler.enable()
    os.set_inheritable(descriptor, False)
    channel = Channel(socket.socket(fileno=descriptor))
    inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(
        target=listen, args=(channel, inbox), name="pgqueue-channel", daemon=True
    ).start()
    os.register_at_fork(after_in_child=lambda: be_nobody(channel))
    try:
        tasks = prepare(inbox.get(), channel)
    except BaseException as error:  # noqa: BLE001  an import can end in anything
        channel.send(_failed(error))
        return
    channel.send(Ready())
    while (assignment := inbox.get()) is not None:
        channel.send(perform(tasks, *assignment))


def listen(channel: Channel, inbox: "queue.SimpleQueue[Any]") -> None:
    """Pass on what the parent says, in a thread, for the main one is busy; die with the parent."""
    stop = Stop()
    teller = Teller(channel, stop)
    try:
        for message in channel.messages():
            if isinstance(message, Run):
                stop = Stop()
                teller = Teller(channel, stop)
                inbox.put((message, stop, teller))
            elif isinstance(message, EndEarly):
                teller.end_early(message.why)
            elif isinstance(message, Leased):
                teller.lease(message.until)
            elif isinstance(message, Told):
                teller.tell(message)
            else:
                inbox.put(None if isinstance(message, Exit) else message)
    finally:
        os._exit(1)


def prepare(hello: Hello, channel: Channel) -> Tasks:
    """Make this process like its parent, and import the tasks."""
    sys.argv[1:] = []
    sys.path[:] = hello.sys_path
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError):
            stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    forwarder = forwarding.Forwarder(lambda record: channel.send(Logged(record)))
    forwarding.take_over(forwarder, hello.levels)
    if hello.memory_mb is not None:
        limit_memory(hello.memory_mb * 1024 * 1024)
    tasks = load_tasks(hello.path)
    for task in tasks:
        task.function = lighten(task.function)
    forwarding.take_over(forwarder, hello.levels)
    return tasks


def perform(tasks: Tasks, run: Run, stop: Stop, teller: Teller) -> Ended | Failed:
    """Run a job to its outcome; what its handler says goes through *teller*."""
    job = run.job
    try:
        task = tasks[job.task]
    except UnknownTask as error:
        return Failed(f"{error}; it was there when the worker started, so restart the worker")
    context = Context(
        job,
        stop=stop,
        transaction=refuse_transaction,
        codec=task.codec,
        safety=task.safety,
        scribe=teller,
        registrar=teller,
    )
    context.on_unknown = task.on_unknown
    with tracer.inside(run.trace):
        outcome = contextvars.copy_context().run(attempt.run, task, context)
    teller.close()
    return Ended.of(outcome)


def refuse_transaction(context: Context) -> Any:
    raise PgqueueError(
        f"task {context.task!r} runs in a process child, which cannot finish its own job: "
        'ctx.transaction() needs executor="thread" or an async def'
    )


def die_with_parent() -> None:
    """Have Linux kill this process when the thread that started it ends, if only by SIGKILL.

    A parent that is gone already is noticed by the end of the connection; no job can come then.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def outlive_signals() -> None:
    """Leave it to the parent what SIGINT and SIGTERM are to mean.

    Caught, not ignored: programs that a handler starts would inherit that, and not be terminable.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
        signal.siginterrupt(number, False)


def be_nobody(channel: Channel) -> None:
    """In a fork that a handler made of this process: be an ordinary one, not a second child."""
    channel.abandon()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    logging.root.handlers[:] = [logging.StreamHandler()]


def limit_memory(size: int) -> None:
    """Let allocations fail once this process has *size* bytes of address space. Linux only."""
    if sys.platform == "linux":
        _, ceiling = resource.getrlimit(resource.RLIMIT_AS)
        if ceiling == resource.RLIM_INFINITY or size < ceiling:
            resource.setrlimit(resource.RLIMIT_AS, (size, size))


def lighten(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make room for writing down a MemoryError, for that holds on to all that the handler took.

    The parent replaces this process then.
    """

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except MemoryError:
            _ballast.close()
            raise

    return call


def _failed(error: BaseException) -> Failed:
    if isinstance(error, PgqueueError) and error.__cause__ is None:
        return Failed(str(error))
    origin = error.__cause__ or error
    problem = str(error) if isinstance(error, PgqueueError) else f"{type(error).__name__}: {error}"
    return Failed(problem, "".join(traceback.format_exception(origin)))
