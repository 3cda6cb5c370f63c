"""``--processes N``: workers under one parent, which listens and does the chores for all of
them."""

import asyncio
import logging
import random
import signal
import sys
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

from pgqueue.worker.clock import boottime
from pgqueue.worker.exits import EXIT_CONFIGURE, EXIT_OK, condemn
from pgqueue.worker.gatherer import Gatherer
from pgqueue.worker.health import doors
from pgqueue.worker.listener import Listener
from pgqueue.worker.logs import configured
from pgqueue.worker.maintenance import Maintenance
from pgqueue.worker.member import Order
from pgqueue.worker.members import Member
from pgqueue.worker.reloading import changes
from pgqueue.worker.session import Session
from pgqueue.worker.settings import Settings

log = logging.getLogger("pgqueue.worker")

_POLL = 0.05
_FIRST_PAUSE = 0.5
_HEALTHY_AFTER = 10.0
_LONGEST_PAUSE = 30.0
_KILL_SLACK = 15.0


def supervise(
    tasks_path: str, dsn: str, settings: Settings, *, processes: int, reload: bool
) -> int:
    """Keep *processes* workers running until a signal; return the exit code.

    A member that dies is replaced, more slowly the sooner it dies; one that needs a person (exit 3)
    ends all. *reload*: start them anew when a source file below the current directory changes.
    """
    format, level = configured()
    order = Order(
        tasks_path,
        dsn,
        replace(
            settings,
            maintenance=False,
            health_port=None,
            metrics_port=None,
            metered=settings.metrics_port is not None,
        ),
        sys.path,
        format,
        level,
    )
    return asyncio.run(Supervisor(order, settings, processes, reload).run())


class Supervisor:
    """Keeps members running, and listens for them."""

    def __init__(self, order: Order, settings: Settings, processes: int, reload: bool) -> None:
        self._order = order
        self._settings = settings
        self._processes = processes
        self._reload = reload
        self._listener = Listener(settings.listen_dsn or order.dsn)
        self._members: list[Member] = []
        self._start_at = [0.0] * processes
        self._pause = _FIRST_PAUSE
        self._stops = 0
        self._exit = EXIT_OK

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        listener = self._listener
        listener.on_ring = lambda queue: self._tell("ring", queue)
        listener.on_cancel = lambda job_id: self._tell("cancel", job_id)
        session = Session(self._order.dsn, "maintenance")
        maintenance = Maintenance(session, self._settings)
        self._gatherer = Gatherer(self._members, listener, maintenance)
        parts: dict[str, Coroutine[Any, Any, None]] = {
            "listener": listener.run(),
            "maintenance": maintenance.run(),
            **doors(self._settings, self, self._gatherer.read),
        }
        if self._reload:
            parts["reload"] = self._watch_sources()
        chores = [asyncio.create_task(self._guard(name, part)) for name, part in parts.items()]
        was_up: bool | None = None
        while not self._stops:
            self._keep_up()
            if listener.is_up != was_up:
                was_up = listener.is_up
                self._tell("up", was_up)
            await asyncio.sleep(_POLL)
        await self._wait_for_members()
        for chore in chores:
            chore.cancel()
        await asyncio.gather(*chores, return_exceptions=True)
        await session.close()
        return self._exit

    @property
    def is_alive(self) -> bool:
        """Whether any member runs."""
        return any(member.process.poll() is None for member in self._members)

    @property
    def is_ready(self) -> bool:
        """Whether all members run, and none was told to stop."""
        running = [member for member in self._members if member.process.poll() is None]
        return len(running) == self._processes and not self._stops

    def _stop(self) -> None:
        self._stops += 1
        self._signal(signal.SIGTERM)

    def _keep_up(self) -> None:
        """Replace members that are gone."""
        for member in list(self._members):
            code = member.process.poll()
            if code is None:
                continue
            self._members.remove(member)
            member.close()
            self._gatherer.retire(member)
            if code == EXIT_CONFIGURE and not self._reload:
                self._exit = EXIT_CONFIGURE
                self._stop()
                return
            lived = boottime() - member.started_at
            self._pause = (
                _FIRST_PAUSE if lived > _HEALTHY_AFTER else min(self._pause * 2, _LONGEST_PAUSE)
            )
            pause = 0.0 if code == 0 else random.uniform(self._pause / 2, self._pause)
            log.log(
                logging.INFO if code == 0 else logging.ERROR,
                "member %d ended with %d; the next starts in %.1f s",
                member.process.pid,
                code,
                pause,
            )
            self._start_at.append(boottime() + pause)
        due = [at for at in self._start_at if boottime() >= at]
        for at in due:
            self._start_at.remove(at)
            member = Member(self._order)
            member.listen()
            member.tell("up", self._listener.is_up)
            self._members.append(member)

    async def _wait_for_members(self) -> None:
        until = boottime() + self._settings.grace.total_seconds() + _KILL_SLACK
        while any(member.process.poll() is None for member in self._members):
            if boottime() > until:
                log.error("members did not stop in time; ending them by force")
                self._signal(signal.SIGKILL)
                until = float("inf")
            await asyncio.sleep(_POLL)
        for member in self._members:
            member.close()

    async def _watch_sources(self) -> None:
        async for path in changes():
            log.info("%s changed: starting the workers anew", path)
            self._signal(signal.SIGTERM)
            self._pause = _FIRST_PAUSE
            self._start_at = [0.0] * len(self._start_at)

    async def _guard(self, name: str, part: Coroutine[Any, Any, None]) -> None:
        """Run a part of the parent's own; what it cannot mend ends them all."""
        try:
            await part
        except Exception as error:  # noqa: BLE001  its last words are said
            self._exit = condemn(error, name, self._order.dsn)
            self._stop()

    def _tell(self, kind: str, value: str | int | bool) -> None:
        for member in self._members:
            member.tell(kind, value)

    def _signal(self, number: signal.Signals) -> None:
        for member in self._members:
            if member.process.poll() is None:
                member.process.send_signal(number)
