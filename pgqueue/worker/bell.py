"""The bell a worker holds while it sleeps, so that whoever makes a job available rings."""

import asyncio
import logging
from collections.abc import Awaitable, Collection

from pgqueue.storage import upkeep
from pgqueue.worker.clock import boottime
from pgqueue.worker.session import Session

log = logging.getLogger("pgqueue.worker")

_LAZY_SECONDS = 0.05
_PATIENCE = 2.0
_AGAIN = 30.0


class Bell:
    """Shared advisory locks on a session: gone with the connection, nothing to clean up.

    Held for queues that have less work than the worker has slots for, and a moment longer, so that
    it is not taken up and let go with every job. *own*: the session serves nothing else, so it may
    fail by itself and the worker only polls. So it does behind a transaction pooler, where session
    locks are anybody's.
    """

    def __init__(self, session: Session, *, own: bool) -> None:
        self._session = session
        self._own = own
        self._hungry: frozenset[str] = frozenset()
        self._held: frozenset[str] = frozenset()
        self._held_on: object = None
        self._needless_since: float | None = None
        self._given_up_until = 0.0

    @property
    def is_held(self) -> bool:
        """Whether there is nothing more to do before sleeping."""
        if not self._hungry or boottime() < self._given_up_until:
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

    async def note(self, hungry: Collection[str]) -> None:
        """Take note of the queues whose last claim brought less than was wanted; let go of the
        bells when one of them has had enough to do for a while."""
        self._hungry = frozenset(hungry)
        now = boottime()
        if self._ours() <= self._hungry:
            self._needless_since = None
        elif self._needless_since is None:
            self._needless_since = now
        elif now - self._needless_since > _LAZY_SECONDS:
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
