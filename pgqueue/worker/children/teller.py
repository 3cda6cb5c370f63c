"""The child's end of what a handler says of itself: the parent takes it down."""

import asyncio
import threading

from pgqueue.context import Stop, Why
from pgqueue.effects import Answer, Entry, Word
from pgqueue.errors import LeaseLost, PgqueueError
from pgqueue.job import Job
from pgqueue.notes import Line, Note, Report
from pgqueue.worker.children.channel import Asked, Channel, Extend, Noted, Told
from pgqueue.worker.clock import boottime
from pgqueue.worker.leases import PATIENCE

_REGISTRY = 70.0
"""Seconds to wait for what the parent has written down: longer than that waits itself."""
_PAUSE = 0.1
"""Seconds between two reports to the parent, which has more to do than to read them; and between
two questions whether a lease still stands."""


class Teller:
    """Tells the parent what the handler of one job says; any thread may speak.

    Checkpoints and log lines go at once: the process may be killed, or kill itself, at any moment.
    """

    def __init__(self, channel: Channel, stop: Stop) -> None:
        self._channel = channel
        self._stop = stop
        self._lock = threading.Lock()
        self._report: Report | None = None
        """What is to be said as soon as the pause is over."""
        self._silent_until = 0.0
        self._over = False
        self._news = threading.Condition()
        self._lease_until = 0.0
        self._asked: tuple[float, float] = (0.0, 0.0)
        """For how long a lease was asked for last, and when."""
        self._told: dict[tuple[str, Word], Told] = {}

    def note(self, job: Job, note: Note) -> None:
        """Tell the parent; reports that follow each other closely are told as one.

        Raises :class:`LeaseLost` once the attempt is over: a thread was left behind."""
        if self._over:
            raise LeaseLost(job.id, job.attempt)
        if isinstance(note, Line):
            note = note._replace(at=boottime())
        if not isinstance(note, Report):
            self._channel.send(Noted(note))
            return
        with self._lock:
            if self._report is not None:
                self._report = self._report.followed_by(note)
                return
            pause = self._silent_until - boottime()
            self._report = note
        if pause > 0:
            later = threading.Timer(pause, self.flush)
            later.daemon = True
            later.start()
        else:
            self.flush()

    def flush(self) -> None:
        """Say what has not been said yet."""
        with self._lock:
            report, self._report = self._report, None
            self._silent_until = boottime() + _PAUSE
        if report is not None:
            self._channel.send(Noted(report))

    def close(self) -> None:
        """Say the rest, and nothing after it: what comes next is about another job."""
        self._over = True
        self.flush()

    def extend(self, job: Job, seconds: float) -> None:
        """Ask the parent for a lease of *seconds*, and how the present one stands. If that may have
        run out, wait for what the parent hears of it, as long as a handler in the parent would."""
        deadline = boottime() + PATIENCE
        with self._news:
            while self._stop.why is None:
                if self._over:
                    raise LeaseLost(job.id, job.attempt)
                now = boottime()
                if self._asked[0] != seconds or now - self._asked[1] >= _PAUSE:
                    # What was heard before counts no more: a renewal can make a lease shorter.
                    self._asked, self._lease_until = (seconds, now), 0.0
                    self._channel.send(Extend(seconds))
                if self._lease_until > now or now > deadline:
                    return
                self._news.wait(_PAUSE)

    def ask(self, job: Job, entry: Entry) -> Answer:
        """Have the parent write down what the handler does outside; see :class:`Registrar`."""
        if self._over:
            raise LeaseLost(job.id, job.attempt)
        key = entry.call, entry.word
        with self._news:
            self._channel.send(Asked(entry))
            if not self._news.wait_for(lambda: key in self._told, timeout=_REGISTRY):
                raise TimeoutError(f"ctx.once(): the worker did not answer within {_REGISTRY:g} s")
            told = self._told.pop(key)
        if told.known is None:
            raise PgqueueError(told.problem)
        return told.known

    async def ask_async(self, job: Job, entry: Entry) -> Answer:
        """For a handler that runs an event loop of its own."""
        return await asyncio.to_thread(self.ask, job, entry)

    def tell(self, told: Told) -> None:
        """The parent answers :meth:`ask`."""
        with self._news:
            self._told[told.call, told.word] = told
            self._news.notify_all()

    def lease(self, until: float) -> None:
        """The parent says until when the lease surely stands."""
        with self._news:
            self._lease_until = until
            self._news.notify_all()

    def end_early(self, why: Why) -> None:
        """The parent says that the job is to end."""
        self._stop.request(why)
        with self._news:
            self._news.notify_all()
