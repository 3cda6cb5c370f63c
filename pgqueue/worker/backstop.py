"""The backstop for what nothing else can end: a handler that hangs, an event loop that is dead."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from psycopg import Connection

from pgqueue.outcome import Outcome, Released
from pgqueue.storage import finishing, jobs, noting
from pgqueue.storage.connect import connect, deadline
from pgqueue.storage.drivers import run
from pgqueue.storage.operation import Operation
from pgqueue.tasks import Tasks
from pgqueue.worker import attempt
from pgqueue.worker.clock import boottime
from pgqueue.worker.holdings import Hold, Holdings
from pgqueue.worker.notes import Notes

log = logging.getLogger("pgqueue.worker")

_STUCK_AFTER = 10.0
_LOOP_PATIENCE = 60.0
_SECOND_LOOK = 1.0
_GIVE_BACK_WITHIN = 10.0


class Backstop:
    """Gives everything back and has the process end, when time has run out and nobody notices.

    Asked by the heartbeat, in its thread. *pulse* tells when the event loop last went round, by the
    boot clock. *on_stuck* is called once everything is given back. ``None``: the process must go
    on, and what else runs in it, so that being stuck is only logged.
    """

    def __init__(
        self,
        dsn: str,
        *,
        worker_id: str,
        tasks: Tasks,
        holdings: Holdings,
        notes: Notes,
        pulse: Callable[[], float],
        on_stuck: Callable[[], None] | None,
    ) -> None:
        self._dsn = dsn
        self._worker_id = worker_id
        self._tasks = tasks
        self._holdings = holdings
        self._notes = notes
        self._pulse = pulse
        self._on_stuck = on_stuck

    def watch(self) -> None:
        """Look whether time has run out for a handler, or for the event loop."""
        if not self._trouble():
            return
        time.sleep(_SECOND_LOOK)  # a process that was frozen needs a moment to come round
        trouble = self._trouble()
        if not trouble:
            return
        if self._on_stuck is None:
            log.critical("%s; restart this process", trouble)
            return
        log.critical("%s; this process gives up", trouble)
        self._holdings.giving_up = True
        self._give_back()
        self._on_stuck()

    def _trouble(self) -> str | None:
        """Say what is stuck, if anything is."""
        holds = self._holdings.all()
        if stuck := self._stuck(holds):
            names = ", ".join(str(hold.job) for hold in stuck)
            return f"{names}: far past the timeout and cannot be ended"
        silence = boottime() - self._pulse()
        if silence > _patience(holds):
            return f"the event loop has been blocked for {silence:.0f} s"
        return None

    def _stuck(self, holds: Sequence[Hold]) -> list[Hold]:
        now = boottime()
        return [hold for hold in holds if _is_stuck(hold, now)]

    def _give_back(self) -> None:
        """Write what is known of every job in hand. Step by step: a row that a handler's
        transaction has locked, or an outcome that cannot be stored, spoils its own step only."""
        holds = self._holdings.all()
        try:
            connection = connect(self._dsn, "heartbeat")
        except Exception as error:  # noqa: BLE001  their leases will run out
            log.error("could not give jobs back: %s", error)
            return
        with deadline(connection, _GIVE_BACK_WITHIN):
            free = self._step(connection, jobs.find_unlocked([hold.job.id for hold in holds]))
            holds = [hold for hold in holds if free is None or hold.job.id in free]
            for outcomes in self._outcomes(holds):
                if outcomes:
                    self._step(connection, self._note(outcomes))
                    self._step(connection, self._finish(outcomes))
            # What a claim that was on its way brought meanwhile.
            self._step(connection, jobs.release_strays(worker_id=self._worker_id, held=[]))
        connection.pgconn.finish()

    def _step(self, connection: Connection[Any], operation: Operation[Any]) -> Any:
        try:
            with connection.transaction():
                return run(connection, operation)
        except Exception as error:  # noqa: BLE001  the next step may succeed
            log.error("could not give all jobs back: %s", str(error).strip())
            return None

    def _outcomes(self, holds: Sequence[Hold]) -> tuple[list[Outcome], ...]:
        """The outcomes of those that are stuck, which had their time; of those that have one
        already; and of the others, which are given back."""
        now = boottime()
        stuck = self._stuck(holds)
        ended = [hold.outcome for hold in holds if hold.outcome is not None]
        unfinished = [hold.job for hold in holds if hold not in stuck and not hold.stop.closed]
        return (
            [
                attempt.time_out(self._tasks[hold.job.task], hold.job, hold.started or now)
                for hold in stuck
            ],
            [outcome for outcome in ended if finishing.is_finish(outcome)],
            [Released(job, now, now, "its worker was stuck") for job in unfinished],
        )

    def _note(self, outcomes: Sequence[Outcome]) -> Operation[None]:
        said = self._notes.take(outcomes)
        yield from noting.write(said, worker_id=self._worker_id, moment=boottime())

    def _finish(self, outcomes: Sequence[Outcome]) -> Operation[set[int]]:
        return finishing.finish(outcomes, worker_id=self._worker_id, moment=boottime())


def _is_stuck(hold: Hold, now: float) -> bool:
    if hold.started is None or not hold.watched or hold.stop.closed:
        return False
    timeout = hold.job.timeout
    return timeout is not None and now - hold.started > timeout + _STUCK_AFTER


def _patience(holds: Sequence[Hold]) -> float:
    """How long the event loop may be blocked: as long as a job on it may take, and a minute if
    there is none."""
    timeouts = [_LOOP_PATIENCE]
    for hold in holds:
        if hold.started is not None and hold.watched and hold.thread is None:
            timeouts.append(math.inf if hold.job.timeout is None else hold.job.timeout)
    return max(timeouts) + _STUCK_AFTER
