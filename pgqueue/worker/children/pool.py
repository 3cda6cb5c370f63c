"""Runs the jobs of ``executor="process"`` tasks in killable processes. Knows no database."""

import asyncio
import contextlib
import logging
from typing import Any

from pgqueue import tracer
from pgqueue.context import Stop, Why
from pgqueue.effects import Entry, Registrar
from pgqueue.errors import LeaseLost, PgqueueError
from pgqueue.job import Job
from pgqueue.outcome import Crashed, Died, Outcome, Released, Retried
from pgqueue.tasks import Task
from pgqueue.worker import attempt
from pgqueue.worker.children.channel import (
    Asked,
    Ended,
    Failed,
    Leased,
    Noted,
    Run,
    Said,
    Told,
)
from pgqueue.worker.children.spawned import Child
from pgqueue.worker.children.starter import ChildStartError, Starter
from pgqueue.worker.children.warden import Warden, heed
from pgqueue.worker.clock import boottime
from pgqueue.worker.notes import Notes

log = logging.getLogger("pgqueue.worker")

AnyTask = Task[Any, Any]

_EXIT_PATIENCE = 2.0
"""Seconds a child has to run its exit handlers."""


class Children:
    """Killable processes that run the jobs of tasks declared ``executor="process"``.

    At most *size* at once, started when first needed, each replaced after *max_jobs* jobs and when
    it ran out of its *memory_mb* MiB of address space (``None``: no limit; Linux only). *grace*:
    seconds between a request to stop and the end by force. A child that has not imported *path*
    within *start_timeout* seconds is given up. Handlers have no ``ctx.state`` there, and no
    ``ctx.transaction()``; *notes* takes down what they say, *registrar* what they do outside.
    """

    def __init__(
        self,
        *,
        path: str,
        size: int,
        max_jobs: int,
        memory_mb: int | None,
        grace: float = 5.0,
        start_timeout: float = 60.0,
        notes: Notes | None = None,
        registrar: Registrar | None = None,
    ) -> None:
        self._starter = Starter(path, memory_mb=memory_mb, timeout=start_timeout)
        self._notes = notes
        self._registrar = registrar
        self._writing: set[asyncio.Task[None]] = set()
        self._max_jobs = max_jobs
        self._grace = grace
        self._slots = asyncio.Semaphore(size)
        self._idle: list[Child] = []
        self._all: set[Child] = set()
        self._waits: set[asyncio.Timeout] = set()
        self._leaving: set[asyncio.Task[None]] = set()
        self._closed = False

    async def run(self, task: AnyTask, job: Job, stop: Stop) -> Outcome:
        """Run *job* in a child that is free, once there is one; its timeout begins then.

        Every failure is an outcome. If this is cancelled, the process that runs the job is killed.
        """
        started = boottime()
        try:
            child = await self._take(stop)
        except ChildStartError as error:
            return Released(job, started, boottime(), str(error))
        if child is None:
            return attempt.stopped(job, stop.why or Why.SHUTDOWN, started)
        try:
            return await self._run_in(child, task, job, stop)
        finally:
            self._put_back(child)

    async def close(self) -> None:
        """End all children within 2 s; what still runs is killed and given back. Run no more."""
        self._closed = True
        for wait in list(self._waits):
            self._end(wait)
        self._idle.clear()
        await asyncio.gather(*(child.retire(_EXIT_PATIENCE) for child in self._all))
        while self._leaving:
            await asyncio.wait(self._leaving)
        self._all.clear()

    async def _run_in(self, child: Child, task: AnyTask, job: Job, stop: Stop) -> Outcome:
        started = boottime()
        if self._notes is not None:
            self._notes.begin(job)
        run = Run(job, tracer.carrier())
        with Warden(child, job, stop, grace=self._grace) as warden:
            answer = await child.ask(run, lambda said: self._hear(child, job, said))
        if isinstance(answer, Ended):
            self._starter.succeeded()
            outcome = answer.outcome(job)
            if _ran_out_of_memory(outcome):
                child.kill()
            return outcome
        death = await child.reap()
        if isinstance(answer, Failed):
            return Released(job, started, boottime(), str(self._starter.failed(answer.problem)))
        if stop.why in (Why.CANCELLED, Why.LOST):
            return attempt.stopped(job, stop.why, started)
        if warden.timed_out:
            return attempt.time_out(task, job, started)
        if warden.stopped or self._closed:
            return attempt.stopped(job, Why.SHUTDOWN, started)
        return Crashed(job, started, boottime(), f"the process running it died: {death}")

    def _hear(self, child: Child, job: Job, said: Said) -> None:
        """Take down what the handler of *job* says. Its attempt may be over: the warden knows."""
        if isinstance(said, Asked):
            writing = asyncio.create_task(self._register(child, job, said.entry))
            self._writing.add(writing)
            writing.add_done_callback(self._writing.discard)
            return
        if self._notes is None:
            return
        with contextlib.suppress(LeaseLost):
            if isinstance(said, Noted):
                self._notes.note(job, said.note)
            else:
                left = self._notes.ask(job, said.seconds)
                child.send(Leased(boottime() + left))

    async def _register(self, child: Child, job: Job, entry: Entry) -> None:
        """Have it written down what the handler of *job* does outside, and tell it so."""
        try:
            if self._registrar is None:
                raise PgqueueError("nobody here writes down what jobs do outside")
            told = Told(entry.call, entry.word, await self._registrar.ask_async(job, entry))
        except Exception as error:  # noqa: BLE001  the handler's to deal with
            told = Told(entry.call, entry.word, None, f"{type(error).__name__}: {error}")
        child.send(told)

    async def _take(self, stop: Stop) -> Child | None:
        """Wait for a slot and return a child for it; ``None`` if told to stop meanwhile."""
        try:
            async with asyncio.timeout(None) as wait:
                self._waits.add(wait)
                try:
                    heed(stop, lambda _: self._end(wait))
                    if stop.why is not None or self._closed:
                        return None
                    await self._slots.acquire()
                    return self._idle.pop() if self._idle else await self._start()
                finally:
                    self._waits.discard(wait)
        except TimeoutError:
            return None

    def _end(self, wait: asyncio.Timeout) -> None:
        if wait in self._waits:
            self._waits.discard(wait)
            wait.reschedule(asyncio.get_running_loop().time())

    async def _start(self) -> Child:
        """Start a child on the slot in hand, which is given back if that fails."""
        try:
            await self._starter.wait()
            child = self._starter.spawn(self._on_gone)
        except BaseException:
            self._slots.release()
            raise
        self._all.add(child)
        try:
            await self._starter.prepare(child)
        except BaseException:
            child.kill()
            self._put_back(child)
            raise
        return child

    def _put_back(self, child: Child) -> None:
        """Give back the slot: now with its child on it, or once there is none any more."""
        if child.usable and child.jobs < self._max_jobs and not self._closed:
            self._idle.append(child)
            self._slots.release()
        else:
            leaving = self._see_off(child)
            leaving.add_done_callback(lambda _: self._slots.release())

    def _on_gone(self, child: Child) -> None:
        if child in self._idle:
            self._idle.remove(child)
            log.warning("process child %d died while it had nothing to do", child.pid)
            self._see_off(child)

    def _see_off(self, child: Child) -> asyncio.Task[None]:
        leaving = asyncio.create_task(self._retire(child))
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)
        return leaving

    async def _retire(self, child: Child) -> None:
        await child.retire(_EXIT_PATIENCE)
        self._all.discard(child)


def _ran_out_of_memory(outcome: Outcome) -> bool:
    """Whether what the child did may weigh on the jobs after it."""
    return isinstance(outcome, (Retried, Died)) and outcome.failure.type == "MemoryError"
