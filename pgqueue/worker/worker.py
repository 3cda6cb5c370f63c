"""The worker: puts the parts together, starts them in the order of flow, stops them likewise."""

import asyncio
import contextvars
import logging
import uuid
from collections.abc import Callable, Coroutine
from functools import partial
from types import TracebackType
from typing import Any, Self

import psycopg

from pgqueue.context import Why, enter_worker
from pgqueue.errors import PgqueueError
from pgqueue.metrics import require_client
from pgqueue.outcome import Released
from pgqueue.storage import jobs, schedules, schema, upkeep
from pgqueue.storage.sqlstate import Remedy, is_refusal, remedy
from pgqueue.tasks import Tasks
from pgqueue.worker.clock import boottime
from pgqueue.worker.exits import EXIT_OK, EXIT_STUCK, condemn, sentence
from pgqueue.worker.health import doors
from pgqueue.worker.holdings import Hold
from pgqueue.worker.life import Life, LifespanFailed, StoppedEarly
from pgqueue.worker.listener import Ears
from pgqueue.worker.maintenance import make_partitions
from pgqueue.worker.meter import Meter
from pgqueue.worker.parts import Frame, Parts, assemble
from pgqueue.worker.session import Session
from pgqueue.worker.settings import Settings

log = logging.getLogger("pgqueue.worker")

_LAST_WORDS = 5.0
"""Seconds after the grace within which all is over: handlers, their outcomes, the hooks."""


class Worker:
    """Runs jobs of *tasks* from the database at *dsn*, in this event loop.

    ``async with Worker(tasks, dsn): ...`` runs it beside your own code; :meth:`run` until it is
    told to stop. *tasks_path* (``"module:attribute"``) lets process children import the tasks.
    *on_stuck* is called, in another thread, when a handler can neither be ended nor waited for: a
    process that exists for this worker ends itself there; by default it is only logged. *ears* is a
    listener that somebody else keeps."""

    def __init__(
        self,
        tasks: Tasks,
        dsn: str,
        settings: Settings | None = None,
        *,
        tasks_path: str | None = None,
        on_stuck: Callable[[], None] | None = None,
        ears: Ears | None = None,
    ) -> None:
        self.id = str(uuid.uuid4())
        """A new one at each start: never a host's name or a pid, which come back."""
        self.tasks = tasks
        self.settings = (settings or Settings()).serving(tasks)
        self._dsn = dsn
        self._tasks_path = tasks_path
        self._on_stuck = on_stuck
        self._ears = ears
        self._stopping = asyncio.Event()
        self._hurrying = asyncio.Event()
        self._broken: asyncio.Future[int] | None = None
        self._life = Life(tasks.lifespan)
        self._parts: Parts | None = None
        self._running: dict[str, asyncio.Task[None]] = {}
        self._own = contextvars.Context()

    async def run(self) -> int:
        """Work until :meth:`stop` is called; return an exit code: 0, 3 (a person must mend the
        configuration), 70 (a bug) or 75 (half the threads are lost; start me again)."""
        try:
            await self.start()
        except StoppedEarly:
            return EXIT_OK
        except Exception as error:  # noqa: BLE001  its last words are said
            return condemn(error, "start", self._dsn)
        assert self._broken is not None
        stopping = asyncio.ensure_future(self._stopping.wait())
        ends: set[asyncio.Future[Any]] = {stopping, self._broken}
        code = EXIT_OK
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if self._broken.done():
                code = self._broken.result()
        finally:
            stopping.cancel()
            try:
                await self.close()
            except LifespanFailed as error:
                code = code or condemn(error, "stop", self._dsn)
        return code

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def stop(self) -> None:
        """Stop: claim no more, let running jobs go on for the grace. Called again: now."""
        if self._stopping.is_set():
            self._hurrying.set()
        self._stopping.set()

    @property
    def parts(self) -> Parts:
        """What runs in it. Raises PgqueueError before its start and after its end."""
        if self._parts is None:
            raise PgqueueError("the worker is not running")
        return self._parts

    @property
    def is_ready(self) -> bool:
        """Whether jobs are being claimed and leases renewed."""
        return self.is_alive and not self._stopping.is_set()

    @property
    def is_alive(self) -> bool:
        """Whether the parts that must never rest have succeeded lately."""
        if self._parts is None or self._broken is None or self._broken.done():
            return False
        limit = 3 * self.settings.lease.total_seconds()
        return boottime() - self._parts.heartbeat.last_success < limit

    async def start(self) -> None:
        """Check the database, then start every part, in the order of flow.

        Waits for a database that is not there yet. Raises :class:`SchemaMismatch`,
        :class:`ForeignDatabase`, and what a wrong DSN or missing rights make psycopg raise.
        """
        self._broken = asyncio.get_running_loop().create_future()
        for task in self.tasks:
            _ = task.codec  # an annotation that cannot be understood is an error here and now
        if self.settings.metrics_port is not None:
            require_client()
        self._session = Session(self._dsn, "pump")
        try:
            home = await self._prepare()
            state = await self._life.start(self._stopping)
        except BaseException:
            await self._session.close()
            raise
        # What runs here knows to which worker it belongs; who starts the worker is not touched.
        self._own = contextvars.copy_context()
        self._own.run(enter_worker, self.id)
        frame = Frame(
            worker_id=self.id,
            tasks=self.tasks,
            dsn=self._dsn,
            settings=self.settings,
            tasks_path=self._tasks_path,
            home=home,
            state=state,
        )
        parts = self._parts = self._own.run(
            partial(
                assemble,
                frame,
                self._session,
                ears=self._ears,
                on_news=self._on_news,
                on_stuck=self._on_stuck,
            )
        )
        parts.heartbeat.start()
        self._begin("lifespan", self._life.watch())
        self._begin("pump", parts.pump.run())
        self._begin("scout", parts.scout.run())
        self._begin("watch", parts.crew.watch())
        self._begin("listener", parts.ears.run())
        if parts.maintenance is not None:
            self._begin("maintenance", parts.maintenance.run())
        meter = Meter(parts, self.tasks)
        if self.settings.metered or self.settings.metrics_port is not None:
            meter.attach()
            self._begin("meter", meter.run())
        for name, door in doors(self.settings, self, meter.read_alone).items():
            self._begin(name, door)
        log.info(
            "worker %s runs %d tasks from %s",
            self.id,
            len(list(self.tasks)),
            ", ".join(f"{queue}={slots}" for queue, slots in self.settings.queues.items()),
            extra={"worker_id": self.id},
        )

    async def close(self) -> None:
        """Stop in the order of flow: no more claims, running jobs, their outcomes, the rest. Raises
        :class:`LifespanFailed` once all is closed, should the lifespan fail at its end."""
        parts = self.parts
        self._stopping.set()
        parts.pump.stop_claiming()
        self._running["scout"].cancel()
        parts.crew.release_waiting("the worker stops")
        if self._running["pump"].done():
            # It died of a bug. What is held can perhaps be given back all the same.
            await self._session.close()
            self._begin("pump", parts.pump.run())
        await self._until(self._is_done, self.settings.grace.total_seconds())
        ends_at = boottime() + _LAST_WORDS
        parts.crew.request_stop(Why.SHUTDOWN)
        await self._until(self._is_done, 2.0)
        parts.crew.abandon()
        written_by = ends_at - 1.0 - boottime()
        await self._until(lambda: self._running["pump"].done() or _is_written(parts), written_by)
        if self._running["pump"].done():
            await self._give_back(parts)
        await parts.reporter.finish(max(0.0, ends_at - 0.5 - boottime()))
        while going := [running for running in self._running.values() if not running.done()]:
            for running in going:
                running.cancel()
            # Again: psycopg 3.2 on Python 3.11 may swallow it, if the answer is there just then.
            await asyncio.wait(going, timeout=1.0)
        parts.executor.close()
        if parts.children is not None:
            await parts.children.close()
        await parts.effects.close(ends_at - boottime())
        parts.heartbeat.stop()
        await self._until(lambda: not parts.heartbeat.is_running, ends_at - boottime())
        for session in parts.sessions:
            await session.close()
        self._parts = None
        left = len(parts.holdings)
        log.info(
            "worker %s stopped%s",
            self.id,
            f", {left} jobs left to their leases" if left else "",
            extra={"worker_id": self.id},
        )
        await self._life.end(self._hurrying)

    async def _prepare(self) -> schema.Identity:
        """Refuse a wrong schema or a foreign database before anything is claimed."""
        while True:
            try:
                await self._session.open()
                await self._session.run(schema.require_schema())
                home = await self._session.run(schema.require_home())
                declared = [task.defaults for task in self.tasks]
                await self._session.run(upkeep.sync_tasks(declared, self.tasks.targets))
                await make_partitions(self._session)
                await self._declare_schedules()
                return home
            except (psycopg.Error, OSError) as error:
                if remedy(error) is not Remedy.RECONNECT or is_refusal(error):
                    raise
                await self._session.recover(error)
            if self._stopping.is_set():
                raise StoppedEarly("told to stop before there was a database")

    async def _declare_schedules(self) -> None:
        """Write down the declared schedules; say what that changed, and what it could not."""
        if not self.tasks.schedules:
            return
        for saved in await self._session.run(schedules.sync(self.tasks.schedules.values())):
            if saved.answer == "taken":
                log.error("schedule %s was not made by code, and is left as it is", saved.name)
            elif saved.answer in ("created", "changed"):
                log.info("schedule %s %s: %s", saved.name, saved.answer, saved.changes or "new")

    def _begin(self, name: str, part: Coroutine[Any, Any, None]) -> None:
        running = asyncio.create_task(
            self._guard(name, part), name=f"pgqueue-{name}", context=self._own.copy()
        )
        running.add_done_callback(lambda _: part.close())  # if it was stopped before it began
        self._running[name] = running

    async def _guard(self, name: str, part: Coroutine[Any, Any, None]) -> None:
        """Run a part; what it cannot mend ends the worker."""
        try:
            await part
        except Exception as error:
            assert self._broken is not None
            if self._broken.done():
                log.debug("%s", name, exc_info=True)  # why the worker ends has been said
            else:
                self._broken.set_result(condemn(error, name, self._dsn))

    async def _give_back(self, parts: Parts) -> None:
        """The pump cannot write outcomes: give back what has none, by a statement that needs the
        table of jobs alone. What ran to its end is left to its lease."""
        holds = parts.holdings.all()
        over = [hold.job for hold in holds if _is_over(hold)]
        try:
            await self._session.open()
            await self._session.run(jobs.release_strays(worker_id=self.id, held=over))
            for hold in holds:
                if not _is_over(hold):
                    parts.holdings.drop(hold.job)
        except Exception as error:  # noqa: BLE001  their leases will run out
            log.error("could not give jobs back: %s", sentence(error, self._dsn))

    def _on_news(self) -> None:
        """The heartbeat has spoken: stale jobs may start; are enough threads left?"""
        if self._parts is None:
            return
        self._parts.crew.fill()
        if self._parts.crew.lost_half and self._broken is not None and not self._broken.done():
            log.critical("half the slots are taken by threads past their timeout; starting anew")
            self._broken.set_result(EXIT_STUCK)

    def _is_done(self) -> bool:
        return self._hurrying.is_set() or self.parts.crew.is_idle

    async def _until(self, condition: Callable[[], bool], seconds: float) -> None:
        """Wait until *condition* holds, for so many *seconds* at most."""
        until = boottime() + seconds
        while not condition() and boottime() < until:  # noqa: ASYNC110  conditions of many parts
            await asyncio.sleep(0.01)


def _is_over(hold: Hold) -> bool:
    return hold.outcome is not None and not isinstance(hold.outcome, Released)


def _is_written(parts: Parts) -> bool:
    pending = parts.holdings or len(parts.completer) or parts.tally or parts.pump.is_claiming
    return not pending
