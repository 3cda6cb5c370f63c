"""How long each lease lasts: as long as usual, or what its handler asked for."""

import threading
from collections.abc import Callable

from pgqueue.worker.clock import boottime
from pgqueue.worker.holdings import Hold, Terms

PATIENCE = 5.0
"""Seconds that a handler waits to hear whether a lease that may have run out still stands."""
_SEEN = 2.0
"""For so many seconds a job counts as ours that was seen to be, though its row was locked."""


class Leases:
    """Keeps count of the leases that this worker holds, for handlers that extend them.

    *usual*: seconds of a lease that nobody said anything about. *on_ask* is called when a lease is
    to be renewed before it is due.
    """

    def __init__(self, usual: float, *, on_ask: Callable[[], None]) -> None:
        self.usual = usual
        self._on_ask = on_ask
        self._told = threading.Condition()

    def ask(self, hold: Hold, seconds: float) -> float:
        """Have *hold* renewed for *seconds*; return how long it surely lasts as things are.

        For each third of what is asked, one renewal at most.
        """
        if hold.terms is None:
            hold.terms = Terms(seconds)
        else:
            hold.terms.ask(seconds)
        left = self.left(hold)
        if left < seconds * 2 / 3:
            self._on_ask()
        return left

    def extend(self, hold: Hold, seconds: float) -> None:
        """Have *hold* renewed for *seconds*. If its lease may have run out, wait until the database
        has said whether it is ours, or for ``PATIENCE``."""
        if self.ask(hold, seconds) > 0:
            return
        with self._told:
            self._told.wait_for(
                lambda: hold.stop.why is not None or self.left(hold) > 0, timeout=PATIENCE
            )

    def left(self, hold: Hold) -> float:
        """For how many seconds from now the lease surely stands; less than 0: it may be over."""
        lasts, seen_until = self.usual, 0.0
        if (terms := hold.terms) is not None:
            lasts = terms.present or self.usual
            seen_until = terms.seen_at + _SEEN
        return max(hold.leased_at + lasts, seen_until) - boottime()

    def wanted(self, hold: Hold) -> float | None:
        """Return how long the next renewal is to make the lease; ``None``: its handler has not
        asked for one."""
        terms = hold.terms
        if terms is None:
            return self.usual
        seconds = terms.seconds or self.usual
        if not terms.manual:
            return max(seconds, self.usual)
        if hold.started is None or not terms.begun or hold.outcome is not None:
            return self.usual  # it is not the handler that we wait for
        return seconds if terms.asked_at > hold.leased_at else None

    def renewed(self, hold: Hold, seconds: float, sent: float) -> None:
        """A renewal for *seconds* that was *sent* then has been granted."""
        hold.leased_at = sent
        if hold.terms is not None:
            hold.terms.present = seconds

    def seen(self, hold: Hold, sent: float) -> None:
        """To a question *sent* then the database said that the job is still ours."""
        if hold.terms is not None:
            hold.terms.seen_at = sent

    def tell(self) -> None:
        """The database has spoken: whoever waits may look."""
        with self._told:
            self._told.notify_all()
