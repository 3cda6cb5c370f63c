"""Tries the heads that claims have left, beside the claims: none of these waits for a slow one."""

import asyncio
import logging
from collections.abc import Sequence

from pgqueue.storage import claiming
from pgqueue.storage.sqlstate import Remedy, remedy
from pgqueue.worker.clock import boottime
from pgqueue.worker.cursors import Cursors, Trial
from pgqueue.worker.session import Session

log = logging.getLogger("pgqueue.worker")

_LOOK_EVERY = 1.0


class Trials:
    """Searches one such head at a time, on a connection that is open while there are any."""

    def __init__(self, session: Session, cursors: Cursors, *, tasks: Sequence[str]) -> None:
        self.session = session
        self._cursors = cursors
        self._tasks = tasks

    async def run(self) -> None:
        """Forever: whatever is due. Until a head is known to be fast, it counts as slow."""
        while True:
            try:
                await self._turn()
            except Exception as error:
                if remedy(error) is Remedy.BUG:
                    log.exception("trial of a head")
                await self.session.recover(error)

    async def _turn(self) -> None:
        trial = self._cursors.next_trial()
        if trial is None:
            await self.session.close()
            await asyncio.sleep(_LOOK_EVERY)
        elif trial.at > boottime():
            await asyncio.sleep(min(trial.at - boottime(), _LOOK_EVERY))
        else:
            await self._try(trial)

    async def _try(self, trial: Trial) -> None:
        began = boottime()
        search = claiming.search_head(queue=trial.queue, tasks=self._tasks, limit=trial.limit)
        try:
            await self.session.open()
            (rows,) = await self.session.run_together([next(search)])
        except Exception:
            self._cursors.put_off(trial.queue, boottime() - began, boottime())
            raise
        self._cursors.tried(trial.queue, claiming.head(rows), boottime())
