"""The bell a worker holds while it sleeps, so that whoever makes a job available rings."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Collection

from pgqueue.storage import upkeep
from pgqueue.worker.clock import boottime
from pgqueue.worker.session import Session

log = logging.getLogger("pgqueue.worker")

_LAZY_SECONDS = 0.05
_PATIENCE = 2.0
_AGAIN = 30.0
_MANY_CLAIMS, _FLOW_SECONDS = 8, 0.1
_EBB_SECONDS = 0.05


class Flow:
    """Whether jobs come in a steady flow. To look for them every few milliseconds then costs less
    than to be rung for each: a transaction that notifies makes all others that do wait for it."""

    def __init__(self) -> None:
        self._claims: deque[float] = deque(maxlen=_MANY_CLAIMS)
        self._is_on = False

    def claimed(self) -> None:
        """A claim has just brought something."""
        now = boottime()
        self._claims.append(now)
        if len(self._claims) == _MANY_CLAIMS and now - self._claims[0] < _FLOW_SECONDS:
            self._is_on = True

    @property
    def is_on(self) -> bool:
        """From so many claims within a tenth of a second until one that brings nothing for half
        as long."""
        if self._is_on and boottime() - self._claims[-1] > _EBB_SECONDS:
            self._is_on = False
            self._claims.clear()
        return self._is_on


class Bell:
    """Shared advisory locks on a session: gone with the connection, nothing to clean up.

    Held for queues that have less work than the worker has slots for, and a moment longer, so that
    it is not taken up and let go with every job; not while jobs come in a steady flow. *own*: the
    session serves nothing else, so it may fail by itself and the worker only polls. So it does
    behind a transaction pooler, where session locks are anybody's.
    """

    def __init__(self, session: Session, *, own: bool) -> None:
        self._session = session
        self._own = own
        self._hungry: frozenset[str] = frozenset()
        self._held: frozenset[str] = frozenset()
        self._held_on: object = None
        self._needless_since: float | None = None
        self.flow = Flow()
        self._given_up_until = 0.0

    @property
    def is_held(self) -> bool:
        """Whether there is nothing more to do before sleeping."""
        if not self._hungry or self.flow.is_on or boottime() < self._given_up_until:
            return True
        if not self._session.is_open:
            return False
        return self._session.is_pooled or self._hungry <= self._ours()

    async def hold(self) -> bool:
        """Hold the bells of the hungry queues; return whether what is made available in them from
        now on rings."""
        if not self.is_held:
            await self._bounded(self._take())
        return self._session.is_open and self.is_held

    def note(self, hungry: Collection[str]) -> bool:
        """Take note of the queues whose last claim brought less than was wanted. Return whether to
        let go of the bells: one of them has had enough to do for a while."""
        self._hungry = frozenset(hungry)
        now = boottime()
        if self.flow.is_on:
            return bool(self._ours())
        if self._ours() <= self._hungry:
            self._needless_since = None
            return False
        self._needless_since = self._needless_since or now
        return now - self._needless_since > _LAZY_SECONDS

    async def let_go(self) -> None:
        """Nobody needs to ring from now on."""
        self._held = frozenset()
        await self._bounded(self._session.run(upkeep.release_bells()))

    def _ours(self) -> frozenset[str]:
        """The queues whose bells the present connection holds."""
        alive = self._session.is_open and self._held_on is self._session.connection
        return self._held if alive else frozenset()

    async def _take(self) -> None:
        await self._session.open()
        wanted = self._hungry | self._ours()
        if not self.is_held and await self._session.run(upkeep.hold_bells(sorted(wanted))):
            self._held, self._held_on = wanted, self._session.connection

    async def _bounded(self, work: Awaitable[None]) -> None:
        """Await *work*. What a session of the bell's own does not answer costs a moment, then the
        worker polls for half a minute; an error of the pump's is for the pump to mend."""
        if not self._own:
            return await work
        try:
            async with asyncio.timeout(_PATIENCE):
                await work
        except Exception as error:  # noqa: BLE001  without it the worker polls
            log.warning("bell: %s; polling", str(error).strip() or type(error).__name__)
            self._given_up_until = boottime() + _AGAIN
            await self._session.close()
