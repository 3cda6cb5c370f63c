"""Keeps outcomes until Postgres has them, then lets go of the jobs and calls the hooks."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice

from pgqueue.job import State
from pgqueue.outcome import Cancelled, Committed, Lost, Outcome, Succeeded, Undecided
from pgqueue.worker.clock import boottime
from pgqueue.worker.holdings import Holdings

log = logging.getLogger("pgqueue.worker")

_BATCH_CHARACTERS = 16 * 1024 * 1024
_LOCKED_WAIT = 0.5


class Completer:
    """The outcomes on their way into the database.

    An outcome leaves only when its statement has committed (``written``), or when there is nothing
    to write. *on_pending* is called when there is something to do, *on_written* for each outcome
    that the database has."""

    def __init__(
        self,
        holdings: Holdings,
        *,
        on_pending: Callable[[], None],
        on_written: Callable[[Outcome], None],
    ) -> None:
        self._holdings = holdings
        self._on_pending = on_pending
        self._on_written = on_written
        self._pending: dict[tuple[int, int], Outcome] = {}
        self._locked: dict[tuple[int, int], Outcome] = {}
        self._look_again_at = 0.0
        self._ask_again_at = 0.0
        self.undecided: list[Undecided] = []
        """COMMITs whose answer was lost."""
        self.refused: list[Outcome] = []
        """Outcomes the fence did not let in: lost, or written by a COMMIT whose answer was lost."""
        self.lost = 0
        """How many outcomes were void because the lease had been lost."""

    def __len__(self) -> int:
        return sum(map(len, (self._pending, self._locked, self.undecided, self.refused)))

    @property
    def in_doubt(self) -> bool:
        """Whether the database is to be asked about some of them."""
        return bool(self.undecided or self.refused or self._locked)

    def add(self, outcome: Outcome) -> None:
        """Take the outcome of an attempt."""
        if isinstance(outcome, Lost):
            self.void(outcome)
        elif isinstance(outcome, Committed):
            self.done(outcome)
        elif isinstance(outcome, Undecided):
            self.undecided.append(outcome)
            self._on_pending()
        else:
            self._pending[_key(outcome)] = outcome
            self._on_pending()

    def take(self, limit: int, *, after: Sequence[Outcome] = ()) -> list[Outcome]:
        """Return up to *limit* outcomes, oldest first, no more than a statement can carry.

        They stay here until ``written``. *after*: what was taken last and is not ``written`` yet.
        """
        batch: list[Outcome] = []
        size = 0
        for outcome in islice(self._pending.values(), len(after), len(after) + limit):
            if isinstance(outcome, Succeeded) and outcome.result is not None:
                size += len(outcome.result)
            if batch and size > _BATCH_CHARACTERS:
                break
            batch.append(outcome)
        return batch

    def written(self, batch: Iterable[Outcome], accepted: Mapping[int, Outcome]) -> None:
        """The statements for *batch* have committed; *accepted* is what the database has now."""
        for outcome in batch:
            del self._pending[_key(outcome)]
            taken = accepted.get(outcome.job.id)
            if taken is not None:
                self.done(taken)
            else:
                self.refused.append(outcome)

    def judge_refused(self, judged: Sequence[Outcome], written: Mapping[int, str]) -> None:
        """Of the refused, *written* are in the database all the same; the others were lost.

        What is there counts: a thread that outlived its timeout may have committed its own success.
        """
        del self.refused[: len(judged)]
        for outcome in judged:
            found = written.get(outcome.job.id)
            if found is None:
                self.void(outcome)
            elif found == State.SUCCEEDED:
                self.done(Committed(outcome.job, outcome.started, outcome.ended))
            elif found == State.CANCELLED:
                self.done(Cancelled(outcome.job, outcome.started, outcome.ended, None))
            else:
                self.done(outcome)

    def set_aside(self, locked: Sequence[Outcome]) -> None:
        """Somebody holds the rows of these jobs: write the others meanwhile."""
        self._look_again_at = boottime() + _LOCKED_WAIT
        for outcome in locked:
            self._locked[_key(outcome)] = self._pending.pop(_key(outcome))

    def locked(self) -> list[int]:
        """Return the jobs whose rows it is time to look at again."""
        if not self._locked or boottime() < self._look_again_at:
            return []
        self._look_again_at = boottime() + _LOCKED_WAIT
        return [outcome.job.id for outcome in self._locked.values()]

    def unlocked(self, ids: set[int]) -> None:
        """Nobody holds the rows of these any more."""
        for key in [key for key in self._locked if key[0] in ids]:
            self._pending[key] = self._locked.pop(key)

    def doubts(self) -> list[Undecided]:
        """Return the undecided that it is time to ask about."""
        return list(self.undecided) if boottime() >= self._ask_again_at else []

    def still_in_doubt(self) -> None:
        """A COMMIT is under way yet, or the server does not know that nobody waits for it."""
        self._ask_again_at = boottime() + _LOCKED_WAIT

    def replace(self, old: Outcome, new: Outcome | None) -> None:
        """Write *new* instead of an outcome that the database cannot store; ``None``: give it
        up."""
        if new is None:
            del self._pending[_key(old)]
            self._holdings.drop(old.job)
        else:
            self._pending[_key(old)] = new

    def decide(self, undecided: Undecided, outcome: Outcome) -> None:
        """The database has told what became of a COMMIT."""
        self.undecided.remove(undecided)
        self.add(outcome)

    def done(self, outcome: Outcome) -> None:
        """The database has this outcome."""
        self._holdings.drop(outcome.job)
        self._on_written(outcome)

    def void(self, outcome: Outcome) -> None:
        """The job is no longer ours: drop what it came to."""
        self.lost += 1
        self._holdings.drop(outcome.job)
        log.warning(
            "%s: lease of attempt %d lost, outcome dropped", outcome.job, outcome.job.attempt
        )


def _key(outcome: Outcome) -> tuple[int, int]:
    return outcome.job.id, outcome.job.attempt
