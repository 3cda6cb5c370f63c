"""The heartbeat: a thread with its own connection that renews leases, whatever the event loop
does."""

import contextvars
import logging
import os
import random
import socket
import threading
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

from psycopg import Connection

from pgqueue.context import Why
from pgqueue.storage import jobs, upkeep
from pgqueue.storage.connect import connect, deadline
from pgqueue.storage.drivers import run
from pgqueue.storage.sqlstate import Remedy, remedy
from pgqueue.tasks import Tasks
from pgqueue.worker.backstop import Backstop
from pgqueue.worker.clock import boottime
from pgqueue.worker.holdings import Hold, Holdings
from pgqueue.worker.leases import Leases
from pgqueue.worker.outage import Outage
from pgqueue.worker.settings import Settings
from pgqueue.worker.version import VERSION

log = logging.getLogger("pgqueue.worker")

_RETRY = 1.0
_CLOSEST = 0.25
"""Seconds between two renewals, however often one is asked for."""
_GOODBYE_WITHIN = 2.0


class Heartbeat:
    """Renews every lease this worker holds, each third of a lease.

    *on_news* is called (in this thread) after each renewal: a lost job was asked to stop, a stale
    one may be started. Whatever becomes of it, the *backstop* is asked each time.
    """

    def __init__(
        self,
        dsn: str,
        *,
        worker_id: str,
        tasks: Tasks,
        settings: Settings,
        holdings: Holdings,
        leases: Leases,
        is_listening: Callable[[], bool],
        on_news: Callable[[], None],
        backstop: Backstop,
    ) -> None:
        self._dsn = dsn
        self._worker_id = worker_id
        self._tasks = tasks
        self._settings = settings
        self._holdings = holdings
        self._leases = leases
        self._is_listening = is_listening
        self._on_news = on_news
        self._backstop = backstop
        self._lease = settings.lease.total_seconds()
        self._margin = min(5.0, self._lease / 6)
        self._connection: Connection[Any] | None = None
        self._outage = Outage("heartbeat")
        self._stopped = threading.Event()
        self._due = threading.Event()
        self._thread = threading.Thread(
            target=contextvars.copy_context().run,
            args=[self._run],
            name="pgqueue-heartbeat",
            daemon=True,
        )
        self.last_success = boottime()

    def start(self) -> None:
        self._thread.start()

    def nudge(self) -> None:
        """Renew soon: something wants to know whether its lease still stands, or a longer one."""
        self._due.set()

    def stop(self) -> None:
        """Have the thread end, within seconds if the database answers."""
        self._stopped.set()
        self._due.set()

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    @property
    def is_connected(self) -> bool:
        """Whether its connection is open, as far as is known."""
        connection = self._connection
        return connection is not None and not connection.closed

    def is_fresh(self, hold: Hold) -> bool:
        """Whether *hold* surely has its lease: the start gate, for machines that were asleep."""
        lasts = boottime() - hold.leased_at < self._lease - self._margin
        return lasts and not self._holdings.giving_up

    def _run(self) -> None:
        nudged = False
        while not self._stopped.is_set():
            pause, closest = self._lease / 3, _CLOSEST
            try:
                self._beat(self._old() if nudged else self._holdings.all())
            except Exception as error:
                if remedy(error) is Remedy.BUG:
                    log.exception("heartbeat")
                self._outage.suffer(error)
                self._disconnect()
                closest = pause = min(_RETRY, pause) * random.uniform(0.5, 1)
            self._backstop.watch()
            self._stopped.wait(closest)
            nudged = self._due.wait(pause - closest)
            self._due.clear()
        self._say_goodbye()

    def _old(self) -> list[Hold]:
        """What a renewal between two regular ones is for: not the many that just had theirs."""
        old = boottime() - self._lease / 6
        return [h for h in self._holdings.all() if h.terms is not None or h.leased_at < old]

    def _beat(self, holds: Iterable[Hold]) -> None:
        if self._connection is None or self._connection.closed:
            self._connection = connect(self._dsn, "heartbeat")
        with deadline(self._connection, self._lease / 3):
            self._renew({(h.job.id, h.job.attempt): h for h in holds})
            run(self._connection, self._presence())
        self._outage.end()
        self.last_success = boottime()
        self._leases.tell()
        self._on_news()

    def _renew(self, holds: dict[tuple[int, int], Hold]) -> None:
        if not holds:
            return
        assert self._connection is not None
        sent = boottime()  # first: what is asked for from here on is for the next renewal
        wanted = {key: self._leases.wanted(hold) for key, hold in holds.items()}
        renewing = [key for key, length in wanted.items() if length is not None]
        lengths = {job_id: length for (job_id, _), length in wanted.items() if length is not None}
        renewed = run(
            self._connection,
            jobs.renew(
                worker_id=self._worker_id,
                ids=[job_id for job_id, _ in renewing],
                attempts=[attempt for _, attempt in renewing],
                lease=self._settings.lease,
                own={
                    job_id: timedelta(seconds=length)
                    for job_id, length in lengths.items()
                    if length != self._leases.usual
                },
            ),
        )
        unknown = dict(holds)
        for held in renewed:
            hold = unknown.pop((held.id, held.attempt), None)
            if hold is not None:
                self._leases.renewed(hold, lengths[held.id], sent)
                if held.cancel_requested:
                    hold.stop.request(Why.CANCELLED)
        if unknown:
            self._judge(unknown, sent)

    def _judge(self, unknown: dict[tuple[int, int], Hold], sent: float) -> None:
        """A row that was not renewed is locked, or not to be renewed, or no longer ours: look once
        more, without a lock."""
        assert self._connection is not None
        ids = [job_id for job_id, _ in unknown]
        found = run(self._connection, jobs.find_held(worker_id=self._worker_id, ids=ids))
        still_ours = {(held.id, held.attempt): held for held in found}
        for key, hold in unknown.items():
            held = still_ours.get(key)
            if held is None:
                # Ignored by an attempt that is being written: its row has gone because of that.
                hold.stop.request(Why.LOST)
                continue
            self._leases.seen(hold, sent)
            if held.cancel_requested:
                hold.stop.request(Why.CANCELLED)

    def _presence(self) -> Any:
        return upkeep.record_worker(
            worker_id=self._worker_id,
            pid=os.getpid(),
            host=socket.gethostname(),
            version=VERSION,
            queues=self._settings.queues,
            tasks=self._tasks.names,
            listening=self._is_listening(),
        )

    def _say_goodbye(self) -> None:
        try:
            if self._connection is not None and not self._connection.closed:
                with deadline(self._connection, _GOODBYE_WITHIN):
                    run(self._connection, upkeep.remove_worker(worker_id=self._worker_id))
        except Exception as error:  # noqa: BLE001  the row will be pruned
            log.debug("heartbeat: %s", error)
        self._disconnect()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.pgconn.finish()
            self._connection = None
