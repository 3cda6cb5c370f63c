"""An exchange: what the pump writes and claims in one transaction, and the answer, still unread."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from psycopg import AsyncCursor

from pgqueue.notes import Said
from pgqueue.outcome import Outcome
from pgqueue.storage.finishing import Finish
from pgqueue.storage.operation import Row, Statement
from pgqueue.worker.claimer import Claim


@dataclass(slots=True)
class Exchange:
    """One round trip of the pump. Its statements stand in this order, and so do the answers."""

    said: Sequence[Said]
    """What jobs said of themselves, which ``notes`` write."""
    notes: Sequence[Statement]
    batch: Sequence[Outcome]
    """What jobs came to, which ``writes`` write."""
    writes: Sequence[Finish]
    claim: Claim | None
    look: Statement | None
    """Asks whether suspects wait."""
    sent: float = 0.0
    """When, by the boot clock."""
    answered: float = 0.0
    answers: Sequence[AsyncCursor[Any]] = field(default=())

    @property
    def statements(self) -> list[Statement]:
        found = [*self.notes, *(write.statement for write in self.writes)]
        if self.claim is not None:
            found.append(self.claim.statement)
        if self.look is not None:
            found.append(self.look)
        return found

    @property
    def may_wait(self) -> bool:
        """Whether the next one can be sent before this one's answer is read: it wrote outcomes and
        claimed jobs, and nothing else hangs on it. The next claim then walks once more over the
        rows that this one took from behind a cursor."""
        return (
            self.claim is not None
            and self.look is None
            and not self.said
            and len(self.batch) > 0
            and self._claimed > 0
        )

    @property
    def _claimed(self) -> int:
        """How many jobs came; the first row of a claim's answer is none."""
        return int(self.answers[-1].rowcount) - 1

    @property
    def coming(self) -> dict[str, int]:
        """How many jobs of each queue it brought at most, before it is read."""
        limits = self.claim.limits if self.claim is not None else {}
        return {queue: min(limit, self._claimed) for queue, limit in limits.items()}

    async def read(self) -> tuple[list[list[Row]], list[Row], bool]:
        """Return the rows of the writes and of the claim, and whether suspects wait."""
        rows = [await answer.fetchall() for answer in self.answers]
        found = bool(rows.pop()[0][0]) if self.look is not None else False
        came = rows.pop() if self.claim is not None else []
        return rows[len(self.notes) :], came, found
