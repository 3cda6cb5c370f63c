"""Looks where claims do not, while the head of a queue is slow: behind the cursors, and at that
head."""

import asyncio
import json
import logging
import math
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress

from psycopg.errors import QueryCanceled

from pgqueue.storage import claiming
from pgqueue.storage.claiming import Head
from pgqueue.storage.operation import Operation, Row
from pgqueue.storage.sqlstate import Remedy, remedy
from pgqueue.worker.claimer import Claimer
from pgqueue.worker.clock import boottime
from pgqueue.worker.cursors import Trial
from pgqueue.worker.session import Session

log = logging.getLogger("pgqueue.worker")

_LOOK_EVERY = 0.1
"""Seconds until it is asked again whether a look could bring something."""
_PATIENCE = 5.0
"""Seconds for a look of some milliseconds, or for the connection."""
_TRIES = 2
"""So often in a row a look may fail before the cursors are given up."""


class Scout:
    """One look at a time, on a connection that is open while there are cursors: no claim waits for
    it. *on_found* is called when jobs were found that the next claim will take."""

    def __init__(
        self,
        session: Session,
        claimer: Claimer,
        *,
        tasks: Sequence[str],
        on_found: Callable[[], None],
    ) -> None:
        self.session = session
        self._claimer = claimer
        self._cursors = claimer.cursors
        self._tasks = tasks
        self._on_found = on_found
        self._sweeps_with = zlib.crc32(json.dumps([sorted(claimer.queues), tasks]).encode()) >> 1
        self._wake = asyncio.Event()
        self._is_news = False
        self._failures = 0
        """How many of the last looks failed."""

    def wake(self) -> None:
        """A head was left: look behind its cursors from now on."""
        self._is_news = True
        self._wake.set()

    async def run(self) -> None:
        """Forever: whatever is due. Cursors that cannot be looked behind are given up."""
        while True:
            try:
                await self._turn()
            except Exception as error:
                if remedy(error) is Remedy.BUG:
                    log.exception("scout")
                self._failures += 1
                if self._failures >= _TRIES:
                    self._cursors.give_up()
                await self.session.recover(error)

    async def _turn(self) -> None:
        self._wake.clear()
        trial = self._cursors.next_trial()
        if trial is None:
            await self.session.close()
            await self._wake.wait()
            return
        now = boottime()
        sweep_in = self._cursors.due_in(now) if self._claimer.wants_found else math.inf
        wait = min(sweep_in, trial.at - now, _LOOK_EVERY)
        if wait > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            return
        async with asyncio.timeout(_PATIENCE):
            await self.session.open()
        if sweep_in <= 0:
            async with asyncio.timeout(_PATIENCE):
                await self._sweep()
        else:
            await self._try(trial)
        self._failures = 0
        if self._is_news:
            await self._say_what_is_slow()

    async def _sweep(self) -> None:
        """Look behind the cursors, in the next span."""
        sweep = self._cursors.sweep()
        look = claiming.find_behind(
            limits=sweep.limits,
            tasks=self._tasks,
            bands=self._cursors.places(),
            high=sweep.high,
            size=sweep.size,
            turn=self._sweeps_with,
        )
        behind = claiming.behind(await self._ask(look))
        if self._cursors.swept(sweep, behind, boottime()):
            self._on_found()

    async def _try(self, trial: Trial) -> None:
        """Search a head that was left. The server's timeout is an answer as well."""
        began = boottime()
        search = claiming.search_head(queue=trial.queue, tasks=self._tasks, limit=trial.limit)
        try:
            head = claiming.head(await self._ask(search))
        except QueryCanceled:
            head = Head(found=0, search_us=round((boottime() - began) * 1e6))
        self._cursors.tried(trial.queue, head, boottime())

    async def _ask(self, look: Operation[object]) -> list[Row]:
        (rows,) = await self.session.run_together([next(look)])
        return rows

    async def _say_what_is_slow(self) -> None:
        """Claims go past the head of a queue from now on: say why. An old snapshot can be ended by
        a person; the rest passes by itself, or has an alert of its own."""
        self._is_news = False
        holder = await self.session.run(claiming.find_horizon())
        log.log(
            logging.INFO if holder is None else logging.WARNING,
            "searching the head of the queues has become slow, so jobs are claimed past it. Oldest "
            "snapshot, before which no dead row can be cleaned up: %s",
            holder
            or "none; the dead rows wait for autovacuum, or jobs wait that nobody here knows",
        )
