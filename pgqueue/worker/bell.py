"""The bell a worker holds while it sleeps, so that whoever makes a job available rings."""

from collections.abc import Sequence

from pgqueue.storage import upkeep
from pgqueue.worker.clock import boottime
from pgqueue.worker.session import Session

_BUSY_SECONDS = 0.05
_AGAIN = 30.0


class Bell:
    """Shared advisory locks on a session: gone with the connection, nothing to clean up.

    Held from before a worker sleeps until there has been work for a while. Behind a transaction
    pooler session locks are anybody's: there the bell stays silent and the worker polls.
    """

    def __init__(self, session: Session, queues: Sequence[str]) -> None:
        self._session = session
        self._queues = list(queues)
        self._held_on: object = None
        self._busy_since: float | None = None
        self._given_up_until = 0.0

    @property
    def is_held(self) -> bool:
        """Whether there is nothing more to do before sleeping."""
        return boottime() < self._given_up_until or (
            self._session.is_open
            and (self._session.is_pooled or self._held_on is self._session.connection)
        )

    def shares(self, session: Session) -> bool:
        """Whether the bell hangs on *session*."""
        return self._session is session

    async def hold(self) -> bool:
        """Hold the bells of our queues; return whether what is made available from now on rings."""
        await self._session.open()
        if not self.is_held and await self._session.run(upkeep.hold_bells(self._queues)):
            self._held_on = self._session.connection
        return self.is_held

    async def give_up(self) -> None:
        """Do without, for half a minute: who makes a job available need not ring."""
        self._given_up_until = boottime() + _AGAIN
        await self._session.close()

    async def note(self, *, busy: bool) -> None:
        """Take note of whether there is work; after a while of it let go of the bells."""
        if not busy:
            self._busy_since = None
            return
        now = boottime()
        if self._busy_since is None:
            self._busy_since = now
        held = self._held_on is not None and self._session.is_open
        if held and now - self._busy_since > _BUSY_SECONDS:
            self._held_on = None
            await self._session.run(upkeep.release_bells())
