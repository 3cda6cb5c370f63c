"""What running jobs say of themselves, on its way into the database: coalesced, and bounded."""

import math
import threading
from collections.abc import Callable, Iterable, Sequence

from pgqueue.errors import LeaseLost
from pgqueue.job import Job
from pgqueue.notes import Line, Note, Said
from pgqueue.outcome import Outcome
from pgqueue.worker.clock import boottime
from pgqueue.worker.holdings import Hold, Holdings
from pgqueue.worker.leases import Leases
from pgqueue.worker.page import Page

_ROUND = 0.25
"""Seconds between two writes about jobs that are not in a hurry: many jobs go in one."""

Key = tuple[int, int]


class Notes:
    """Takes down what handlers say, from any thread, until the pump has written it.

    Once a second for each job at most, the first of it, 0 % and 100 % at once, and everything with
    the attempt's outcome. *on_due* is called, in the thread that spoke, with the seconds until
    there is something to write.
    """

    def __init__(
        self, holdings: Holdings, leases: Leases, *, on_due: Callable[[float], None]
    ) -> None:
        self._holdings = holdings
        self._leases = leases
        self._on_due = on_due
        self._lock = threading.Lock()
        self._unwritten: dict[Key, Page] = {}
        self._due_at = math.inf
        self._round_at = -math.inf

    def note(self, job: Job, note: Note) -> None:
        """Take down *note*. Raises :class:`LeaseLost` if the attempt is over."""
        hold = self._hold(job)
        if isinstance(note, Line) and note.at is None:
            note = note._replace(at=boottime())
        with self._lock:
            page = hold.page
            if page is None:
                page = hold.page = Page(job)
            page.take(note)
            self._unwritten[job.id, job.attempt] = page
            if len(self._unwritten) > len(self._holdings):
                self._forget()
            due_at = self._when(page)
            sooner = due_at < self._due_at
            if sooner:
                self._due_at = due_at
        if sooner:
            self._ring(due_at)

    def begin(self, job: Job) -> None:
        """A process child has begun to run the handler of *job*."""
        hold = self._holdings.get(job)
        if hold is not None and hold.terms is not None:
            hold.terms.begin()

    def extend(self, job: Job, seconds: float) -> None:
        """See :meth:`Context.extend`. Raises :class:`LeaseLost` if the attempt is over."""
        self._leases.extend(self._hold(job), seconds)

    def ask(self, job: Job, seconds: float) -> float:
        """Like :meth:`extend`, without waiting: return how long the lease surely stands."""
        return self._leases.ask(self._hold(job), seconds)

    def take(self, ended: Iterable[Outcome]) -> list[Said]:
        """Return what is due, and what the *ended* attempts left, in the order of ids.

        It stays here until ``written``."""
        if not self._unwritten:
            return []
        now = boottime()
        with self._lock:
            over = {(outcome.job.id, outcome.job.attempt) for outcome in ended}
            keys = over & self._unwritten.keys()
            if now >= self._due_at:
                self._forget()
                keys |= {key for key, page in self._unwritten.items() if page.due_at <= now}
                self._round_at = now
            return [self._unwritten[key].show(ended=key in over) for key in sorted(keys)]

    def last_lines(self, job: Job) -> Said | None:
        """Return the lines of an attempt that is about to end outside of the pump, which leaves
        them alone unless that fails."""
        with self._lock:
            page = self._unwritten.get((job.id, job.attempt))
            if page is None:
                return None
            page.due_at = math.inf
            return page.show(ended=True)._replace(report=None, checkpoint=None)

    def written(self, batch: Sequence[Said]) -> None:
        """The database has these, or they are given up."""
        with self._lock:
            for said in batch:
                key = (said.job.id, said.job.attempt)
                page = self._unwritten.get(key)
                if page is not None and page.written(said):
                    del self._unwritten[key]
            self._forget()
            due_at = min(map(self._when, self._unwritten.values()), default=math.inf)
            self._due_at = due_at
        if due_at < math.inf:
            self._ring(due_at)

    def _hold(self, job: Job) -> Hold:
        hold = self._holdings.get(job)
        if hold is None or hold.outcome is not None:
            raise LeaseLost(job.id, job.attempt)
        return hold

    def _when(self, page: Page) -> float:
        """When *page* is to be written: at once, or with others in the next round."""
        if page.due_at == -math.inf:
            return page.due_at
        return max(page.due_at, self._round_at + _ROUND)

    def _ring(self, due_at: float) -> None:
        self._on_due(max(due_at - boottime(), 0.0))

    def _forget(self) -> None:
        """Drop what was said by attempts that are ours no longer: nobody would let it in."""
        for key, page in list(self._unwritten.items()):
            if self._holdings.get(page.job) is None:
                del self._unwritten[key]
