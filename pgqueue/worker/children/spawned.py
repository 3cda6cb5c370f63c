"""One process child, as its parent holds it."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from pgqueue.context import jobless
from pgqueue.worker.children import forwarding
from pgqueue.worker.children.channel import (
    Answer,
    Asked,
    Exit,
    Extend,
    Hello,
    Logged,
    Message,
    Noted,
    Request,
    Run,
    Said,
    Unpacker,
    pack,
)

log = logging.getLogger("pgqueue.worker")

_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[2]); "
    "from pgqueue.worker.children.child import main; main(int(sys.argv[1]))"
)
_ROOT = str(Path(__file__).parents[3])
_DEATH = 5.0
"""Seconds within which a killed process is gone, if anything works at all."""


class Child(asyncio.Protocol):
    """A process that answers one request at a time. All of it happens on one event loop.

    Its connection is its life: where that ends the process is dead, or is killed.
    """

    def __init__(self, path: str, on_gone: "Callable[[Child], None]") -> None:
        """Start a process for the tasks at *path*; *on_gone* hears of its end. Raises OSError.

        Call it in a thread that lives as long as the worker: Linux takes the end of the thread
        for the end of the parent. Nothing is inherited but stdout, stderr and one socket.
        """
        self.jobs = 0
        """How many it has been given."""
        self.gone = asyncio.Event()
        self._on_gone = on_gone
        self._killed = False
        self._unpacker = Unpacker()
        self._answer: asyncio.Future[Answer | None] | None = None
        self._hear: Callable[[Said], None] | None = None
        self._transport: asyncio.Transport | None = None
        self._connecting: asyncio.Task[object] | None = None
        self._socket, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-c", _BOOT, str(theirs.fileno()), _ROOT, path],
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    process_group=0,
                )
            except BaseException:
                self._socket.close()
                raise

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def usable(self) -> bool:
        """Whether it can be asked something."""
        return not (self._killed or self.gone.is_set())

    async def greet(self, hello: Hello) -> Answer | None:
        """Connect, and have it import the tasks. Returns Ready, Failed, or ``None`` if it died."""
        loop = asyncio.get_running_loop()
        # What the child logs is read in a context of no job, not that of the one it is started for.
        self._connecting = loop.create_task(
            loop.create_unix_connection(lambda: self, sock=self._socket),
            context=jobless(),
        )
        await asyncio.shield(self._connecting)
        return await self.ask(hello)

    async def ask(
        self, request: Hello | Run, hear: Callable[[Said], None] | None = None
    ) -> Answer | None:
        """Send *request* and return the answer; ``None`` if the process died first. *hear* is told
        what the job says of itself meanwhile.

        A child whose answer is not waited for, because this was cancelled, is killed.
        """
        if isinstance(request, Run):
            self.jobs += 1
        if not self.usable:
            return None
        self._answer = asyncio.get_running_loop().create_future()
        self._hear = hear
        try:
            self.send(request)
            return await self._answer
        except BaseException:
            self.kill()
            raise
        finally:
            self._answer = self._hear = None

    def send(self, message: Request) -> None:
        """Send *message*, unless there is nobody to hear it."""
        if self.usable and self._transport is not None:
            self._transport.write(pack(message))

    def kill(self) -> None:
        """Kill it, and what it started. An answer that is on its way still arrives."""
        self._killed = True
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        if self._transport is not None:
            # Something that left the process group may hold the connection open.
            asyncio.get_running_loop().call_later(_DEATH, self._transport.abort)

    async def retire(self, patience: float) -> None:
        """Ask it to exit, kill it after *patience* seconds, and reap it."""
        self.send(Exit())
        if self.usable:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self.gone.wait()
        await self.reap()

    async def reap(self) -> str:
        """Make sure that it is dead and leaves nothing behind; return how it died."""
        self.kill()
        loop = asyncio.get_running_loop()
        deadline, pause = loop.time() + _DEATH, 0.0
        while self._process.poll() is None:
            if loop.time() > deadline:
                log.error("process child %d was killed and does not die", self.pid)
                break
            await asyncio.sleep(pause)
            pause = min(pause + 0.001, 0.02)
        await self._disconnect()
        return _death(self._process.returncode)

    async def _disconnect(self) -> None:
        if self._connecting is not None:
            await asyncio.wait({self._connecting})
        if self._transport is None:
            self._socket.close()
        else:
            self._transport.abort()
            await self.gone.wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            for message in self._unpacker.feed(data):
                self._take(message)
        except Exception:
            log.exception("process child %d sent what cannot be read; killing it", self.pid)
            self.kill()

    def connection_lost(self, error: Exception | None) -> None:
        self.gone.set()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(None)
        self._on_gone(self)

    def _take(self, message: Message) -> None:
        if isinstance(message, Logged):
            # Not here: what the parent's log handlers raise is no fault of the child.
            asyncio.get_running_loop().call_soon(forwarding.emit, message.record)
        elif isinstance(message, (Noted, Extend, Asked)):
            if self._hear is not None:
                self._hear(message)
        elif self._answer is not None and not self._answer.done():
            assert not isinstance(message, Request)
            self._answer.set_result(message)


def _death(status: int | None) -> str:
    if status is None:
        return "unknown"
    if status >= 0:
        return f"exit status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = str(-status)
    return f"signal {name}" + (", for want of memory perhaps" if name == "SIGKILL" else "")
