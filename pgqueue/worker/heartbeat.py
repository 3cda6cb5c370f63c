"""The heartbeat: a thread with its own connection that renews leases, whatever the event loop
does."""

import logging
import os
import random
import socket
import threading
from collections.abc import Callable
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
from pgqueue.worker.outage import Outage
from pgqueue.worker.settings import Settings
from pgqueue.worker.version import VERSION

log = logging.getLogger("pgqueue.worker")

_RETRY = 1.0
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
        on_news: Callable[[], None],
        backstop: Backstop,
    ) -> None:
        self._dsn = dsn
        self._worker_id = worker_id
        self._tasks = tasks
        self._settings = settings
        self._holdings = holdings
        self._on_news = on_news
        self._backstop = backstop
        self._lease = settings.lease.total_seconds()
        self._margin = min(5.0, self._lease / 6)
        self._connection: Connection[Any] | None = None
        self._outage = Outage("heartbeat")
        self._stopping = False
        self._due = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pgqueue-heartbeat", daemon=True)
        self.last_success = boottime()

    def start(self) -> None:
        self._thread.start()

    def nudge(self) -> None:
        """Renew now: something wants to know whether its lease still stands."""
        self._due.set()

    def stop(self) -> None:
        """Have the thread end, within seconds if the database answers."""
        self._stopping = True
        self._due.set()

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    def is_fresh(self, hold: Hold) -> bool:
        """Whether *hold* surely has its lease: the start gate, for machines that were asleep."""
        lasts = boottime() - hold.leased_at < self._lease - self._margin
        return lasts and not self._holdings.giving_up

    def _run(self) -> None:
        while not self._stopping:
            pause = self._lease / 3
            try:
                self._beat()
            except Exception as error:
                if remedy(error) is Remedy.BUG:
                    log.exception("heartbeat")
                self._outage.suffer(error)
                self._disconnect()
                pause = min(_RETRY, pause) * random.uniform(0.5, 1)
            self._backstop.watch()
            self._due.wait(pause)
            self._due.clear()
        self._say_goodbye()

    def _beat(self) -> None:
        if self._connection is None or self._connection.closed:
            self._connection = connect(self._dsn, "heartbeat")
        with deadline(self._connection, self._lease / 3):
            self._renew({(h.job.id, h.job.attempt): h for h in self._holdings.all()})
            run(self._connection, self._presence())
        self._outage.end()
        self.last_success = boottime()
        self._on_news()

    def _renew(self, holds: dict[tuple[int, int], Hold]) -> None:
        if not holds:
            return
        assert self._connection is not None
        sent = boottime()
        renewed = run(
            self._connection,
            jobs.renew(
                worker_id=self._worker_id,
                ids=[job_id for job_id, _ in holds],
                attempts=[attempt for _, attempt in holds],
                lease=self._settings.lease,
            ),
        )
        unknown = dict(holds)
        for held in renewed:
            hold = unknown.pop((held.id, held.attempt), None)
            if hold is not None:
                hold.leased_at = sent
                if held.cancel_requested:
                    hold.stop.request(Why.CANCELLED)
        if unknown:
            self._judge(unknown)

    def _judge(self, unknown: dict[tuple[int, int], Hold]) -> None:
        """A row that was not renewed is locked, or no longer ours: look once more, without a
        lock."""
        assert self._connection is not None
        ids = [job_id for job_id, _ in unknown]
        still_ours = run(self._connection, jobs.find_held(worker_id=self._worker_id, ids=ids))
        for key, hold in unknown.items():
            if key not in still_ours:
                # Ignored by an attempt that is being written: its row has gone because of that.
                hold.stop.request(Why.LOST)

    def _presence(self) -> Any:
        return upkeep.record_worker(
            worker_id=self._worker_id,
            pid=os.getpid(),
            host=socket.gethostname(),
            version=VERSION,
            queues=self._settings.queues,
            tasks=self._tasks.names,
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
