"""The chores that keep a queue going: stage, tick, rescue, expire, prune. From every worker, no
leader: SKIP LOCKED and unique keys let any number do them at once."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import psycopg
from psycopg.errors import QueryCanceled

from pgqueue.errors import PgqueueError
from pgqueue.storage import batches, jobs, noting, rollups, schema, upkeep
from pgqueue.storage.sqlstate import Remedy, remedy
from pgqueue.worker.clock import boottime
from pgqueue.worker.outlook import Outlook
from pgqueue.worker.session import Session
from pgqueue.worker.settings import Settings
from pgqueue.worker.ticker import Ticker

log = logging.getLogger("pgqueue.worker")

LIMIT = 1000
_FEW = 100
"""Batches that one transaction closes."""
_MANY = 10_000
"""Tallies that one transaction folds."""
_FOLD_EVERY = 10.0
_EVALUATE_EVERY = 15.0
_SOON = 0.5
_TICK = 1.0
_MINUTE = 60.0
_HOUR = 3600.0
_PUT_OFF = 5.0
_READ_ONLY = "25006"


async def make_partitions(session: Session) -> None:
    """Make the partitions that the coming days need. Without them history goes on in the net, and
    so may the worker: where there is too much to be moved out of that in time, a person must."""
    try:
        await session.run(upkeep.make_partitions())
    except QueryCanceled:
        log.warning(
            "history cannot be moved into its partitions in time, and is not forgotten when "
            "its day comes: run SELECT pgqueue.make_partitions() by hand, with no statement_timeout"
        )


@dataclass(slots=True)
class Chore:
    """Something to be done again and again. *do* returns in how many seconds it is next due."""

    name: str
    do: Callable[[], Awaitable[float]]
    due_at: float = 0.0


class Maintenance:
    """Does the chores, one after the other, on one connection of its own."""

    def __init__(self, session: Session, settings: Settings) -> None:
        self.session = session
        self._settings = settings
        self._lease = settings.lease.total_seconds()
        self._wake = asyncio.Event()
        self._awake_since = 0.0
        self._closed = 0
        self._pruned_to = 0
        self._look_anew()
        self.last_success = boottime()
        self.rescued = 0
        """How many jobs were taken back from workers that vanished."""
        self._stage = Chore("stage", self._do_stage)
        ticker = Ticker(session)
        self._chores = [
            self._stage,
            Chore("recompute schedules", ticker.recompute),
            Chore("tick", ticker.tick),
            Chore("rescue", self._do_rescue),
            Chore("expire", self._do_expire),
            Chore("close batches", self._do_close_batches),
            Chore("fold tallies", self._do_fold),
            Chore("evaluate alerts", self._do_evaluate_alerts),
            Chore("prune", self._do_prune),
            Chore("prune progress", self._do_prune_progress),
            Chore("make partitions", self._do_make_partitions),
            Chore("forget partitions", self._do_forget_partitions),
        ]

    def expect(self, seconds: float) -> None:
        """A scheduled job is known to fall due in so many *seconds*."""
        due_at = boottime() + seconds
        if due_at < self._stage.due_at:
            self._stage.due_at = due_at
            self._wake.set()

    async def run(self) -> None:
        """Forever: whatever is due. Raises :class:`SchemaMismatch` and :class:`ForeignDatabase`."""
        while True:
            try:
                began = boottime()
                if await self.session.open():
                    self._look_anew()
                    await self.session.run(schema.require_schema())
                    await self.session.run(schema.require_home())
                self._notice_sleep(began)
                for chore in self._chores:
                    if boottime() >= chore.due_at:
                        await self._attempt(chore)
                self.last_success = boottime()
                await self._sleep()
            except PgqueueError:
                raise
            except Exception as error:
                if remedy(error) is Remedy.BUG:
                    log.exception("maintenance")
                await self.session.recover(error)

    def _look_anew(self) -> None:
        """What was seen on another connection may have been another server."""
        self._scheduled, self._leased, self._expiring = Outlook(), Outlook(), Outlook()

    async def _attempt(self, chore: Chore) -> None:
        """Do *chore*. What the server refuses is put off: the other chores do not wait for it, and
        the connection stays, for a rescue needs one that has been up for a while."""
        began = boottime()
        try:
            due_in = await chore.do()
        except psycopg.Error as error:
            if not self.session.is_open or error.sqlstate in (None, _READ_ONLY):
                raise
            due_in = _PUT_OFF
            log.warning("maintenance: %s: %s", chore.name, str(error).strip())
        chore.due_at = boottime() + due_in
        self._notice_sleep(began)

    async def _sleep(self) -> None:
        self._wake.clear()
        due_at = min(chore.due_at for chore in self._chores)
        try:
            async with asyncio.timeout(max(due_at - boottime(), 0.001)):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._notice_sleep(due_at)

    def _notice_sleep(self, since: float) -> None:
        """What should have been over long ago has taken until now: the machine may have been
        asleep."""
        now = boottime()
        if now - since > self._lease / 2:
            self._awake_since = now

    async def _do_stage(self) -> float:
        within = self._scheduled.begin()
        staged = await self.session.run(jobs.stage(limit=LIMIT, within=within))
        self._scheduled.end(complete=staged.staged < LIMIT)
        if staged.staged >= LIMIT:
            return 0.0
        if staged.next_in_ms is None:
            return _TICK
        return min(max(staged.next_in_ms / 1000, 0.001), _TICK)

    async def _do_rescue(self) -> float:
        # After an outage, or when the machine was asleep, every lease has run out: the living
        # renew theirs first.
        up_since = max(self.session.opened_at, self._awake_since)
        patience = self._lease / 3 + 2 - (boottime() - up_since)
        if patience > 0:
            return patience
        within = self._leased.begin()
        rescued = await self.session.run(jobs.rescue(limit=LIMIT, within=within))
        self._leased.end(complete=rescued.total < LIMIT)
        if rescued.total:
            self.rescued += rescued.total
            log.warning(
                "took back %d jobs whose workers vanished: %d to run again, %d dead, %d cancelled",
                rescued.total,
                *rescued,
            )
        return 0.0 if rescued.total >= LIMIT else self._settings.rescue_every.total_seconds()

    async def _do_expire(self) -> float:
        within = self._expiring.begin()
        expired = await self.session.run(jobs.expire(limit=LIMIT, within=within))
        self._expiring.end(complete=expired < LIMIT)
        return 0.0 if expired >= LIMIT else _TICK

    async def _do_close_batches(self) -> float:
        began = boottime()
        closed = await self.session.run(batches.close_batches(after_id=self._closed, limit=_FEW))
        for each in closed:
            if each.problem is not None:
                log.warning("batch %d cannot be closed yet: %s", each.batch_id, each.problem)
        self._closed = closed[-1].batch_id if len(closed) == _FEW else 0
        if self._closed:
            return 0.0
        # Where an old snapshot keeps dead entries at the head of the index, a look is slow.
        return max(_SOON, 10 * (boottime() - began))

    async def _do_fold(self) -> float:
        began = boottime()
        folded = await self.session.run(rollups.fold(limit=_MANY))
        if folded >= _MANY:
            return 0.0
        return max(_FOLD_EVERY, 10 * (boottime() - began))  # see close batches

    async def _do_evaluate_alerts(self) -> float:
        began = boottime()
        await self.session.run(rollups.evaluate_alerts())
        return max(_EVALUATE_EVERY, 10 * (boottime() - began))  # see close batches

    async def _do_prune(self) -> float:
        pruned = await self.session.run(upkeep.prune(limit=LIMIT))
        return 0.0 if pruned >= LIMIT else _MINUTE

    async def _do_prune_progress(self) -> float:
        window = await self.session.run(noting.prune_progress(after=self._pruned_to, limit=LIMIT))
        self._pruned_to = window.last or 0
        if window.looked_at < LIMIT:
            self._pruned_to = 0
            return _HOUR
        return _TICK

    async def _do_make_partitions(self) -> float:
        await make_partitions(self.session)
        return _HOUR

    async def _do_forget_partitions(self) -> float:
        await self.session.run(upkeep.forget_partitions())
        return _HOUR
