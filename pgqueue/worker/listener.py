"""The listener: hears that jobs were made available or cancelled. Only a hint; polling is the
truth."""

import asyncio
import logging
from collections.abc import Callable

from psycopg import AsyncConnection, Notify
from psycopg.rows import TupleRow

from pgqueue.metrics import Reading
from pgqueue.storage.connect import connect_async, is_pooled
from pgqueue.worker.outage import Outage

log = logging.getLogger("pgqueue.worker")

JOBS = "pgqueue"
CANCELS = "pgqueue_cancel"
_CHECK_EVERY = 10.0
_ANSWER_WITHIN = 5.0
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 2.0
_POOLED_PAUSE = 60.0


class Ears:
    """Hears rings and cancellations, and passes them on.

    *on_ring* gets the name of a queue ("": any may have been rung), *on_cancel* the id of a job.
    """

    def __init__(self) -> None:
        self.on_ring: Callable[[str], None] = lambda queue: None
        self.on_cancel: Callable[[int], None] = lambda job_id: None
        self.on_figures: Callable[[], Reading] | None = None
        """Reads the worker's figures, for ears that are asked for them."""
        self.is_up = False
        """Whether notifications arrive, as far as is known."""

    async def run(self) -> None:
        """Forever: listen."""
        raise NotImplementedError


class Listener(Ears):
    """Listens on a connection of its own, and heals itself.

    Every ten seconds it asks the server what it listens to: behind a transaction pooler the answer
    is nothing, and a connection that died silently gives none.
    """

    def __init__(self, dsn: str) -> None:
        super().__init__()
        self._dsn = dsn
        self._outage = Outage("listener")

    async def run(self) -> None:
        """Forever: connect, LISTEN, pass on what is heard."""
        pause = _FIRST_PAUSE
        while True:
            connection: AsyncConnection[TupleRow] | None = None
            try:
                async with asyncio.timeout(_ANSWER_WITHIN * 3):
                    connection = await connect_async(self._dsn, "listener")
                    if is_pooled(connection):
                        log.warning(
                            "listener: a transaction pooler swallows LISTEN; polling instead "
                            "(set PGQUEUE_LISTEN_DSN to a direct DSN to be woken)"
                        )
                        pause = _POOLED_PAUSE
                    else:
                        await connection.execute(f"LISTEN {JOBS}")
                        await connection.execute(f"LISTEN {CANCELS}")
                        pause = _FIRST_PAUSE
                if not is_pooled(connection):
                    await self._listen(connection)
            except Exception as error:  # noqa: BLE001  without it the worker polls
                self._outage.suffer(error)
                pause = min(pause * 2, _LONGEST_PAUSE)
            finally:
                self.is_up = False
                if connection is not None:
                    connection.pgconn.finish()
            await asyncio.sleep(pause)

    async def _listen(self, connection: AsyncConnection[TupleRow]) -> None:
        while True:
            async with asyncio.timeout(_ANSWER_WITHIN):
                cursor = await connection.execute("SELECT pg_listening_channels()")
                channels = {row[0] for row in await cursor.fetchall()}
            if not {JOBS, CANCELS} <= channels:
                raise ConnectionError("the server does not know that we listen")
            if not self.is_up:
                self.is_up = True
                self._outage.end()
                self.on_ring("")  # whatever was rung while we were deaf
            async for notification in connection.notifies(timeout=_CHECK_EVERY):
                self._pass_on(notification)

    def _pass_on(self, notification: Notify) -> None:
        if notification.channel == JOBS:
            self.on_ring(notification.payload)
        elif notification.payload.isdecimal():
            self.on_cancel(int(notification.payload))
