"""The application's own start and stop around the life of a worker: ``Tasks(lifespan=…)``."""

import asyncio
import logging
from typing import Any

from pgqueue.errors import PgqueueError
from pgqueue.tasks import Lifespan

log = logging.getLogger("pgqueue.worker")

_END_WITHIN = 5.0
_GIVE_UP_WITHIN = 1.0


class StoppedEarly(PgqueueError):
    """A worker was told to stop before it had started."""


class LifespanFailed(PgqueueError):
    """The application's lifespan raised; its error is the ``__cause__``."""

    def __init__(self, when: str, error: BaseException) -> None:
        super().__init__(f"the lifespan failed {when}: {type(error).__qualname__}: {error}")


class Life:
    """Enters a lifespan and leaves it, in one task: task groups and cancel scopes want that."""

    def __init__(self, lifespan: Lifespan | None) -> None:
        self._lifespan = lifespan
        self._over = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self, stopping: asyncio.Event) -> Any:
        """Enter it; return what it yields. Raises LifespanFailed, or StoppedEarly when *stopping*
        is set before it has."""
        if self._lifespan is None:
            return None
        state: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        task = self._task = asyncio.create_task(self._live(self._lifespan, state))
        try:
            await _first_of({state, task}, stopping)
        finally:
            if not state.done():
                await self._give_up()
        if state.done():
            return state.result()
        if not task.cancelled():
            task.result()
        raise StoppedEarly("told to stop before its lifespan had started")

    async def watch(self) -> None:
        """Until it is left. Raises LifespanFailed should it not last so long."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def end(self, hurrying: asyncio.Event) -> None:
        """Leave it, within seconds, or at once when *hurrying* is set. Raises LifespanFailed."""
        if self._task is None or self._task.done():
            return
        self._over.set()
        await _first_of({self._task}, hurrying, within=_END_WITHIN)
        if not self._task.done():
            log.error("the lifespan did not end in time; giving it up")
            await self._give_up()
        if self._task.done() and not self._task.cancelled():
            self._task.result()

    async def _live(self, lifespan: Lifespan, state: "asyncio.Future[Any]") -> None:
        try:
            async with lifespan() as value:
                state.set_result(value)
                await self._over.wait()
        except Exception as error:
            when = "at its end" if self._over.is_set() else "while the worker ran"
            raise LifespanFailed(when if state.done() else "to start", error) from error

    async def _give_up(self) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait({self._task}, timeout=_GIVE_UP_WITHIN)


async def _first_of(
    futures: "set[asyncio.Future[Any]]", event: asyncio.Event, within: float | None = None
) -> None:
    """Wait until one of *futures* is done, or *event* is set."""
    happening = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait(
            {*futures, happening}, timeout=within, return_when=asyncio.FIRST_COMPLETED
        )
    finally:
        happening.cancel()
