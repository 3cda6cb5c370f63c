"""Ends a process child's job before its time: at its timeout, or when it is told to stop."""

import asyncio
from collections.abc import Callable
from typing import Self

from pgqueue.context import Stop, Why
from pgqueue.job import Job
from pgqueue.worker.children.channel import EndEarly
from pgqueue.worker.children.spawned import Child

_LOST_GRACE = 1.0
"""Seconds in which a handler can hear that its lease is lost: somebody else may run the job."""


class Warden:
    """Watches one job of one child, as a context manager around the wait for its outcome.

    A request to stop is passed on to the handler, and enforced *grace* seconds later, of a lost
    lease within a second; a timeout is enforced at once. ``timed_out`` and ``stopped`` say what the
    child was killed for; an outcome that came first counts all the same.
    """

    def __init__(self, child: Child, job: Job, stop: Stop, *, grace: float) -> None:
        self.timed_out = False
        self.stopped = False
        self._child = child
        self._timeout = job.timeout
        self._stop = stop
        self._grace = grace
        self._loop = asyncio.get_running_loop()
        self._timers: list[asyncio.TimerHandle] = []
        self._on_duty = False
        self._told = False

    def __enter__(self) -> Self:
        self._on_duty = True
        if self._timeout is not None:
            self._timers.append(self._loop.call_later(self._timeout, self._end_of_time))
        heed(self._stop, self._tell)
        return self

    def __exit__(self, *_: object) -> None:
        self._on_duty = False
        for timer in self._timers:
            timer.cancel()

    def _tell(self, why: Why) -> None:
        if self._told or not self._on_duty:
            return
        self._told = True
        self._child.send(EndEarly(why))
        grace = min(self._grace, _LOST_GRACE) if why is Why.LOST else self._grace
        self._timers.append(self._loop.call_later(grace, self._end_of_grace))

    def _end_of_time(self) -> None:
        self.timed_out = not self.stopped
        self._child.kill()

    def _end_of_grace(self) -> None:
        self.stopped = not self.timed_out
        self._child.kill()


def heed(stop: Stop, tell: Callable[[Why], None]) -> None:
    """Have *tell* called on this event loop when *stop* is requested, from whatever thread.

    It is called soon, not at once, if that has happened already; it may be called late, and twice.
    """
    loop = asyncio.get_running_loop()

    def on_request(why: Why) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(tell, why)

    stop.on_request = on_request
    if stop.why is not None:
        loop.call_soon(tell, stop.why)
