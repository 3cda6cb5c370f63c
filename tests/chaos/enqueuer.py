"""An application that enqueues: on every kind of connection, with rollbacks, savepoints and keys
that others use as well. Nothing is acknowledged before its COMMIT returned."""

import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy.exc import DBAPIError, PendingRollbackError

import pgqueue
from pgqueue import NewJob
from tests.chaos.handlers import (
    child,
    effect,
    effect_of_chunk,
    flaky,
    mortal,
    nap,
    quick,
    snoozer,
    thread,
    told,
)
from tests.chaos.logbook import Logbook, now
from tests.connections import KINDS, Application

KEYS = 300
"""So few keys that the enqueuers meet."""
ROLLED_BACK = 0.1
OUTAGE = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    DBAPIError,
    PendingRollbackError,
    OSError,
)


@dataclass
class Said:
    """What one transaction was told."""

    made: list[int] = field(default_factory=list)
    keyed: list[tuple[int, str]] = field(default_factory=list)
    undone: list[int] = field(default_factory=list)


class Enqueuer:
    """Enqueues about *jobs* jobs, spread over *seconds*."""

    def __init__(
        self, dsn: str, home: Path, *, seed: str, jobs: int, seconds: float, is_pooled: bool
    ) -> None:
        self._dsn = dsn
        self._is_pooled = is_pooled
        self._random = random.Random(seed)
        self._jobs = jobs
        self._seconds = seconds
        self._acks = Logbook(home, f"acks-{seed}", durable=True)

    def run(self) -> None:
        began = time.monotonic()
        done = 0
        while done < self._jobs:
            try:
                with self._connected() as application:
                    for _ in range(self._random.randint(1, 30)):
                        done += self._transact(application)
                        ahead = began + self._seconds * done / self._jobs - time.monotonic()
                        time.sleep(max(0.0, ahead))
            except OUTAGE:
                # Whether the last transaction was committed nobody knows, and nothing was promised.
                time.sleep(self._random.uniform(0.05, 0.3))

    def _connected(self) -> AbstractContextManager[Application]:
        kind = self._random.choice(list(KINDS))
        how: dict[str, Any] = {}
        if self._is_pooled:  # what psycopg's manual asks of everybody behind such a pooler
            unprepared = {"prepare_threshold": None}
            how = {"connect_args": unprepared} if "SQLAlchemy" in kind else unprepared
        return KINDS[kind](self._dsn, **how)

    def _transact(self, application: Application) -> int:
        said = Said()
        steps: Sequence[Callable[[Application, Said], None]] = self._random.choices(
            (self._one, self._many, self._keyed, self._by_sql, self._undone, self._batch),
            weights=(30, 20, 15, 10, 10, 5),
            k=self._random.randint(1, 3),
        )
        for step in steps:
            step(application, said)
        if said.made:
            application.execute(
                f"INSERT INTO chaos.marker SELECT unnest(ARRAY{said.made}::bigint[])"
            )
        if self._random.random() < ROLLED_BACK:
            application.rollback()
            self._acks.write_all("rolled_back", [{"job_id": id} for id in said.made + said.undone])
            return 0
        application.commit()
        at = now()
        acknowledged = [(id, None) for id in said.made] + said.keyed
        self._acks.write_all(
            "ack", [{"job_id": id, "key": key, "at": at} for id, key in acknowledged]
        )
        self._acks.write_all("rolled_back", [{"job_id": id} for id in said.undone])
        return len(said.made)

    def _one(self, application: Application, said: Said) -> None:
        said.made.append(application.enqueue(self._job()).id)

    def _many(self, application: Application, said: Said) -> None:
        jobs = [self._job() for _ in range(self._random.randint(2, 25))]
        said.made += [each.id for each in application.enqueue_many(jobs)]

    def _keyed(self, application: Application, said: Said) -> None:
        key = f"key-{self._random.randrange(KEYS)}"
        found = application.enqueue(quick.job().options(key=key))
        said.keyed.append((found.id, key))
        if found.inserted:
            said.made.append(found.id)

    def _by_sql(self, application: Application, said: Said) -> None:
        rows = application.execute("SELECT pgqueue.enqueue('quick', '{}')")
        said.made.append(int(rows[0][0]))

    def _undone(self, application: Application, said: Said) -> None:
        application.execute("SAVEPOINT before")
        undone = [each.id for each in application.enqueue_many([self._job(), self._job()])]
        application.execute("ROLLBACK TO SAVEPOINT before")
        said.undone += undone

    def _batch(self, application: Application, said: Said) -> None:
        asynchronous = hasattr(application.connection, "__aenter__")
        if self._random.random() < 0.5:
            batch: Any = pgqueue.enqueue_batch_async if asynchronous else pgqueue.enqueue_batch
            made = batch(
                application.connection, [self._job() for _ in range(5)], on_complete=told.job()
            )
        else:
            chunked: Any = (
                pgqueue.enqueue_chunked_async if asynchronous else pgqueue.enqueue_chunked
            )
            made = chunked(
                application.connection, effect_of_chunk, range(60), 10, on_complete=told.job()
            )
        batch_id = application.do(made).id
        said.made += [
            int(row[0])
            for row in application.execute(
                f"SELECT id FROM pgqueue.jobs WHERE batch_id = {batch_id}"  # noqa: S608  a number
            )
        ]

    def _job(self) -> NewJob:
        short = round(self._random.uniform(0.0, 0.3), 3)
        (job,) = self._random.choices(
            (
                quick.job(),
                quick.job().options(delay=self._random.uniform(0.1, 5.0)),
                nap.job(seconds=short),
                nap.job(seconds=self._random.uniform(0.5, 8.0)),
                thread.job(seconds=short),
                child.job(seconds=short),
                effect.job(seconds=short),
                effect.job(seconds=short).options(metadata={"isolation": "REPEATABLE_READ"}),
                flaky.job(),
                snoozer.job(),
                mortal.job(seconds=short),
            ),
            weights=(50, 6, 10, 9, 8, 3, 8, 2, 6, 3, 2),
        )
        return job.options(priority=self._random.choice((50, 100, 100, 200)))


def main() -> None:
    order = json.loads(sys.argv[1])
    home = Path(order.pop("home"))
    Enqueuer(order.pop("dsn"), home, **order).run()


if __name__ == "__main__":
    main()
