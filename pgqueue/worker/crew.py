"""The crew: starts jobs as slots come free, and watches their time. Knows no database."""

import asyncio
import contextvars
import sys
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from pgqueue import tracer
from pgqueue.context import Why
from pgqueue.job import Job
from pgqueue.outcome import Outcome, Released
from pgqueue.worker.clock import boottime
from pgqueue.worker.executor import Executor
from pgqueue.worker.holdings import Hold
from pgqueue.worker.lane import Lane

_SLICE = 0.002
"""For so long jobs may be started in a row before the event loop gets its turn."""
_WATCH_EVERY = 0.05
_EAGER: dict[str, Any] = {"eager_start": True} if sys.version_info >= (3, 12) else {}


class Crew:
    """Runs the jobs that were claimed, at most ``slots`` of each queue at once.

    *on_start* is called for each job that is begun, with the moment of it; *on_outcome* once for
    each that was offered. *is_fresh* is the start gate: a job whose lease may have run out while
    the machine slept is not started; *on_stale* asks for news.
    """

    def __init__(
        self,
        *,
        queues: Mapping[str, int],
        prefetch: int,
        executor: Executor,
        on_start: Callable[[Job, float], None],
        on_outcome: Callable[[Outcome], None],
        is_fresh: Callable[[Hold], bool],
        on_stale: Callable[[], None],
    ) -> None:
        self.lanes = {queue: Lane(queue, slots, prefetch) for queue, slots in queues.items()}
        self._turns = deque(self.lanes.values())
        self._executor = executor
        self._on_start = on_start
        self._on_outcome = on_outcome
        self._is_fresh = is_fresh
        self._on_stale = on_stale
        self._running: set[Hold] = set()
        self._filling = False
        self._fills_soon: asyncio.Handle | None = None
        self._closed_for: str | None = None
        self._base = contextvars.copy_context()
        self.ticked_at = boottime()
        """When the event loop last went round, as far as the watch knows; read by any thread."""

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs and nothing waits for a slot."""
        return not self._running and not any(lane.waiting for lane in self.lanes.values())

    def is_stocked(self, but: Collection[str] = ()) -> bool:
        """Whether jobs wait for a slot, and no queue *but* those wants more of them."""
        lanes = self.lanes.values()
        return any(lane.waiting for lane in lanes) and not any(
            lane.wants() for lane in lanes if lane.queue not in but
        )

    @property
    def lost_half(self) -> bool:
        """Whether threads that nothing can end occupy half the slots of a queue, or more."""
        return any(lane.stuck * 2 >= lane.slots and lane.stuck for lane in self.lanes.values())

    def offer(self, holds: Iterable[Hold]) -> None:
        """Run these as soon as there are slots."""
        for hold in holds:
            self.lanes[hold.job.queue].put(hold)
        if self._closed_for is None:
            self.fill()
        else:
            self.release_waiting(self._closed_for)  # the claim was under way when we stopped

    def fill(self) -> None:
        """Start waiting jobs on free slots; at most a slice of time, then the loop has its turn."""
        if self._filling:
            return
        self._filling = True
        if self._fills_soon is not None:
            self._fills_soon.cancel()  # there is one chain of slices, whoever calls
            self._fills_soon = None
        loop = asyncio.get_running_loop()
        now = boottime()
        until = now + _SLICE
        try:
            for lane in tuple(self._turns):
                self._turns.rotate(-1)  # the next slice begins at the next queue
                while lane.waiting and lane.has_room:
                    if not self._start(lane, now, loop):
                        break
                    now = boottime()
                    if now > until:
                        self._fill_soon()
                        return
        finally:
            self._filling = False

    def release_waiting(self, why: str) -> None:
        """Give back, uncharged, what has not been started; start nothing from now on."""
        self._closed_for = why
        now = boottime()
        for lane in self.lanes.values():
            while lane.waiting:
                self._end(lane.take(), lambda hold: Released(hold.job, now, now, why))

    def request_stop(self, why: Why) -> None:
        """Ask everything that runs to end."""
        for hold in list(self._running):
            hold.stop.request(why)

    def abandon(self) -> None:
        """Wait no longer for threads that were asked to end."""
        for hold in list(self._running):
            if hold.task is not None:
                hold.task.cancel()

    async def watch(self) -> None:
        """Forever: end attempts that exceed their timeout."""
        while True:
            await asyncio.sleep(_WATCH_EVERY)
            now = self.ticked_at = boottime()
            for hold in list(self._running):
                timeout = hold.job.timeout
                if timeout is None or hold.timed_out or hold.started is None:
                    continue
                if now - hold.started > timeout:
                    self._executor.time_out(hold)

    def _start(self, lane: Lane, now: float, loop: asyncio.AbstractEventLoop) -> bool:
        hold = lane.waiting[0]
        if hold.stop.why is None and not self._is_fresh(hold):
            self._on_stale()
            return False
        lane.take()
        if hold.stop.why is not None:
            self._end(hold, self._executor.never_started)
            return True
        lane.running += 1
        self._running.add(hold)
        hold.started = now
        self._on_start(hold.job, now)
        hold.task = asyncio.Task(
            self._run(hold, lane), loop=loop, context=self._base.copy(), **_EAGER
        )
        return True

    async def _run(self, hold: Hold, lane: Lane) -> None:
        if hold.task is None:  # it was started before it was named
            hold.task = asyncio.current_task()
        running = self._executor.execute(hold)
        if tracer.active is not None:
            running = tracer.active.attempt(hold.job, running)
        outcome = await running
        self._running.discard(hold)
        lane.learn(outcome.ended - outcome.started)
        if hold.thread is not None and not hold.thread.done():
            lane.stuck += 1
            loop = asyncio.get_running_loop()
            hold.thread.add_done_callback(
                lambda _: call_from_thread(loop, lambda: self._unstick(lane))
            )
        else:
            lane.running -= 1
        hold.outcome = outcome
        hold.stop.close()
        self._on_outcome(outcome)
        if lane.waiting and not self._filling:
            self._fill_soon()

    def _fill_soon(self) -> None:
        """Fill when the others that end just now have ended."""
        if self._fills_soon is None:
            self._fills_soon = asyncio.get_running_loop().call_soon(self.fill)

    def _unstick(self, lane: Lane) -> None:
        lane.stuck -= 1
        lane.running -= 1
        self.fill()

    def _end(self, hold: Hold, outcome: Callable[[Hold], Outcome]) -> None:
        hold.outcome = outcome(hold)
        hold.stop.close()
        self._on_outcome(hold.outcome)


def call_from_thread(loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
    """Call from a thread that may outlive the loop."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(callback)
