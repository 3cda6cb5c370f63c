"""The people of a run: one cancels, retries, pauses and discards whatever comes to hand, one looks
at everything. What they see has to make sense, whatever is broken."""

import contextlib
import json
import random
import re
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

import psycopg

from pgqueue.storage import inspection
from pgqueue.storage.drivers import run
from tests.chaos.logbook import Logbook, now
from tests.command import ROOT

OUTAGE = (psycopg.OperationalError, psycopg.InterfaceError, OSError)
ANY_JOB = """
SELECT id FROM pgqueue.jobs
WHERE id >= (SELECT min(id) + (random() * (max(id) - min(id)))::bigint FROM pgqueue.jobs)
ORDER BY id LIMIT 1
"""
ANY_DEAD = "SELECT id FROM pgqueue.jobs WHERE state = 'dead' ORDER BY random() LIMIT 1"
ANY_BATCH = "SELECT id FROM pgqueue.batches ORDER BY random() LIMIT 1"
PSQL = re.compile(r"^\\|(?<!:):['a-z]", re.M)
"""psql's own: a command, or a variable."""

VERBS = {
    "cancel": (ANY_JOB, "SELECT pgqueue.cancel(%s, 'chaos')"),
    "retry": (ANY_DEAD, "SELECT pgqueue.retry(%s, NULL, 'chaos')"),
    "hurry": (ANY_JOB, "SELECT pgqueue.retry(%s, NULL, 'chaos')"),
    "discard": (ANY_DEAD, "SELECT pgqueue.discard(%s, 'chaos', 'enough')"),
    "cancel a batch": (ANY_BATCH, "SELECT pgqueue.cancel_batch(%s, 'chaos')"),
    "retry a batch": (ANY_BATCH, "SELECT pgqueue.retry_batch(%s, 'chaos')"),
}
PAUSED = "default"


class Bystander:
    """Acts and looks until told to stop; then leaves no queue paused."""

    def __init__(self, dsn: str, home: Path, seed: str) -> None:
        self._dsn = dsn
        self._random = random.Random(seed)
        self._book = Logbook(home, "bystander", durable=False)
        texts = [path.read_text() for path in sorted((ROOT / "sql").glob("*.sql"))]
        # What asks about one job or person wants psql and its variables.
        self._queries = [text.encode() for text in texts if not PSQL.search(text)]
        self._stopped = False

    def stop(self, number: int, frame: FrameType | None) -> None:
        self._stopped = True

    def run(self) -> None:
        while not self._stopped:
            with contextlib.suppress(*OUTAGE), self._connected() as connection:
                while not self._stopped:
                    self._act(connection)
                    self._look(connection)
            time.sleep(0.1)
        self._resume()

    def _act(self, connection: psycopg.Connection[Any]) -> None:
        verb = self._random.choices([*VERBS, "pause"], weights=(40, 15, 10, 10, 2, 4, 3), k=1)[0]
        if verb == "pause":
            connection.execute("SELECT pgqueue.pause(%s, 'chaos')", [PAUSED])
            time.sleep(self._random.uniform(0.1, 1.0))
            connection.execute("SELECT pgqueue.resume(%s, 'chaos')", [PAUSED])
        else:
            find, do = VERBS[verb]
            for row in connection.execute(find).fetchall():
                connection.execute(do, row)
        self._book.write("verb", verb=verb, at=now())
        time.sleep(self._random.uniform(0.0, 0.3))

    def _look(self, connection: psycopg.Connection[Any]) -> None:
        for status in run(connection, inspection.queue_status()):
            assert status[0]
        run(connection, inspection.list_workers())
        connection.execute(self._random.choice(self._queries))

    def _resume(self) -> None:
        while True:
            with contextlib.suppress(*OUTAGE), self._connected() as connection:
                connection.execute("SELECT pgqueue.resume(%s, 'chaos')", [PAUSED])
                return
            time.sleep(0.2)

    def _connected(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self._dsn, autocommit=True, application_name="chaos:bystander")


def main() -> None:
    order = json.loads(sys.argv[1])
    bystander = Bystander(order["dsn"], Path(order["home"]), order["seed"])
    signal.signal(signal.SIGTERM, bystander.stop)
    bystander.run()


if __name__ == "__main__":
    main()
