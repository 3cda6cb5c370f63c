"""Writes what running jobs say of themselves, in the pump's transaction or, in trouble, alone."""

import logging
from collections.abc import Sequence

from pgqueue.notes import Said
from pgqueue.outcome import Outcome
from pgqueue.storage import noting
from pgqueue.storage.operation import Statement
from pgqueue.storage.sqlstate import Remedy, remedy
from pgqueue.worker.clock import boottime
from pgqueue.worker.notes import Notes
from pgqueue.worker.session import Session

log = logging.getLogger("pgqueue.worker")

_BATCH_CHARACTERS = 16 * 1024 * 1024


class Noter:
    """Takes from the notes what is due, and lets go of it once Postgres has it."""

    def __init__(self, session: Session, notes: Notes, *, worker_id: str) -> None:
        self._session = session
        self._notes = notes
        self._worker_id = worker_id

    def take(self, ended: Sequence[Outcome]) -> list[Said]:
        """Return what is due, and what the *ended* attempts left: it is to be written before their
        outcomes."""
        return self._notes.take(ended)

    async def lighten(self, said: list[Said]) -> list[Said]:
        """Write here and now what is more of it than a statement should carry; return the rest."""
        while len(said) > 1 and sum(each.size for each in said) > _BATCH_CHARACTERS:
            middle = len(said) // 2
            ahead, said = said[:middle], said[middle:]
            await self._write(ahead)
        return said

    def statements(self, said: Sequence[Said]) -> list[Statement]:
        """Return what writes *said*."""
        return noting.notes(said, worker_id=self._worker_id, moment=boottime()) if said else []

    def written(self, said: Sequence[Said]) -> None:
        """The statements for *said* have committed."""
        if said:
            self._notes.written(said)

    async def spare(self, said: Sequence[Said], error: Exception) -> bool:
        """A transaction with *said* in it failed with *error*: write these by themselves. Return
        whether one of them was to blame; it is given up then."""
        if not said or remedy(error) is not Remedy.BISECT:
            return False
        return not await self._write(said)

    async def _write(self, said: Sequence[Said]) -> bool:
        """Write *said* alone, and each alone if they cannot be stored together; return whether all
        of them could be."""
        try:
            await self._session.run_together(self.statements(said))
        except Exception as error:
            if remedy(error) is not Remedy.BISECT:
                raise
            if len(said) > 1:
                stored = [await self._write([each]) for each in said]
                return all(stored)
            log.error("%s: what it said of itself cannot be stored: %s", said[0].job, error)
            self.written(said)
            return False
        self.written(said)
        return True
