"""What there is to do in a run: for a worker all kinds of jobs at once, and what an application
does on its own connection."""

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
from sqlalchemy.exc import DBAPIError, PendingRollbackError

import pgqueue
from pgqueue import NewJob
from pgqueue.storage import claiming
from pgqueue.storage.drivers import run
from tests.chaos.enqueuer import OUTAGE
from tests.chaos.logbook import Logbook, now
from tests.connections import KINDS, Application
from tests.failpoints.tasks import (
    cancelled,
    child,
    doomed,
    effect,
    effect_of_chunk,
    effect_of_session,
    failing,
    long,
    outsider,
    quick,
    snoozer,
    speaker,
    thread,
    ticked,
    told,
    vanish,
)
from tests.postgres import dsn_with

BY_HAND = "by-hand"
GHOST = "ghost"
_PATIENCE = 40.0


def for_a_worker(connection: psycopg.Connection[Any], home: Path, *, children: bool) -> None:
    """Enqueue everything that a worker can meet, and one job that another worker left behind.
    *children*: also what runs in process children, each of which has to start Python."""
    acks = Logbook(home, "acks-harness", durable=False)
    _leave_behind(connection, home, acks)
    jobs = _every_kind() + ([child.job(), vanish.job()] if children else [])
    made = pgqueue.enqueue_many(connection, jobs)
    batch = pgqueue.enqueue_batch(connection, [quick.job()] * 3, on_complete=told.job())
    ids = [each.id for each in made] + _of_batch(connection, batch.id)
    pgqueue.schedule(connection, "often", ticked.job(), every=2, overlap="queue_one")
    _mark(connection, ids)
    connection.commit()
    acks.write_all("ack", [{"job_id": id, "key": None, "at": now()} for id in ids])
    acks.close()


def _every_kind() -> list[NewJob]:
    levels = ("READ_COMMITTED", "SERIALIZABLE")
    return [
        quick.job(),
        quick.job().options(key="once"),
        quick.job().options(delay=0.3),
        quick.job().options(expires=0.1),
        thread.job(),
        *(effect.job().options(metadata={"isolation": level}) for level in levels),
        effect_of_session.job(),
        failing.job(),
        doomed.job(),
        snoozer.job(),
        cancelled.job(),
        speaker.job(),
        outsider.job(),
    ]


def for_its_last_moments(connection: psycopg.Connection[Any], home: Path) -> int:
    """Enqueue what a worker will not have done when it is told to stop; return the job's id."""
    made = pgqueue.enqueue(connection, long.job())
    _mark(connection, [made.id])
    connection.commit()
    acks = Logbook(home, "acks-harness", durable=False)
    acks.write("ack", job_id=made.id, key=None, at=now())
    acks.close()
    return made.id


def _leave_behind(connection: psycopg.Connection[Any], home: Path, acks: Logbook) -> None:
    """A job in the hands of a worker that is not there any more."""
    made = pgqueue.enqueue(connection, quick.job())
    _mark(connection, [made.id])
    connection.execute("SELECT set_config('chaos.process', %s, true)", [GHOST])
    claim = claiming.claim(
        worker_id=str(uuid4()),
        limits={"default": 1},
        tasks=["quick"],
        lease=timedelta(seconds=1),
    )
    assert [job.id for job in run(connection, claim).jobs] == [made.id]
    connection.execute("UPDATE pgqueue.jobs SET lease_until = now() - interval '1 s'")
    connection.commit()
    acks.write("ack", job_id=made.id, key=None, at=now())
    acks.write("fault", kind="left behind", targets=[GHOST], began=now(), ended=now() + 120)


class Enqueuer:
    """An application on one kind of connection. It does each step in a transaction of its own, and
    again on a new connection if that one broke; what it is told it writes down."""

    def __init__(self, dsn: str, home: Path, kind: str) -> None:
        self._dsn = dsn_with(dsn, application_name=kind)
        self._kind = kind
        self._said = Logbook(home, f"acks-{kind}-{uuid4().hex[:6]}", durable=False)
        self._home = home

    def run(self) -> None:
        steps = [self._one, self._many, self._keyed, self._by_sql, self._savepoint]
        steps += [self._undone, self._batch, self._chunked, self._empty, self._schedule]
        if self._kind == "psycopg Connection":
            steps += [self._by_hand]
        for step in steps:
            self._do(step)

    def _do(self, step: Callable[[Application], None]) -> None:
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                with KINDS[self._kind](self._dsn) as application:
                    step(application)
                return
            except (*OUTAGE, DBAPIError, PendingRollbackError):
                # Whether it was committed nobody knows: nothing was promised.
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)

    def _one(self, application: Application) -> None:
        self._commit(application, [application.enqueue(quick.job()).id])

    def _many(self, application: Application) -> None:
        jobs = [quick.job(), thread.job(), effect_of_session.job()]
        self._commit(application, [each.id for each in application.enqueue_many(jobs)])

    def _keyed(self, application: Application) -> None:
        found = application.enqueue(quick.job().options(key="shared"))
        self._commit(application, [found.id] if found.inserted else [], {found.id: "shared"})

    def _by_sql(self, application: Application) -> None:
        rows = application.execute("SELECT pgqueue.enqueue('quick', '{}')")
        self._commit(application, [int(rows[0][0])])

    def _savepoint(self, application: Application) -> None:
        kept = application.enqueue(quick.job()).id
        application.execute("SAVEPOINT before")
        undone = application.enqueue(quick.job()).id
        application.execute("ROLLBACK TO SAVEPOINT before")
        self._said.write("rolled_back", job_id=undone)
        self._commit(application, [kept])

    def _undone(self, application: Application) -> None:
        undone = application.enqueue(quick.job()).id
        self._said.write("rolled_back", job_id=undone)
        application.rollback()

    def _batch(self, application: Application) -> None:
        enqueue = self._verb(pgqueue.enqueue_batch, pgqueue.enqueue_batch_async)
        self._commit_batch(
            application,
            enqueue(application.connection, [quick.job()] * 3, on_complete=told.job()),
        )

    def _chunked(self, application: Application) -> None:
        enqueue = self._verb(pgqueue.enqueue_chunked, pgqueue.enqueue_chunked_async)
        lazy = (number for number in range(5))
        self._commit_batch(application, enqueue(application.connection, effect_of_chunk, lazy, 2))

    def _empty(self, application: Application) -> None:
        enqueue = self._verb(pgqueue.enqueue_batch, pgqueue.enqueue_batch_async)
        self._commit_batch(application, enqueue(application.connection, [], on_complete=told.job()))

    def _commit_batch(self, application: Application, batch: Any) -> None:
        batch_id = application.do(batch).id
        rows = application.execute(
            f"SELECT id FROM pgqueue.jobs WHERE batch_id = {batch_id}"  # noqa: S608  a number
        )
        self._commit(application, [int(row[0]) for row in rows])

    def _schedule(self, application: Application) -> None:
        schedule = self._verb(pgqueue.schedule, pgqueue.schedule_async)
        application.do(schedule(application.connection, "often", ticked.job(), every=2))
        application.commit()

    def _by_hand(self, application: Application) -> None:
        """Leave a job to itself, then work off all there is: also what an earlier one left."""
        self._commit(application, [application.enqueue(quick.job().options(queue=BY_HAND)).id])
        connection = application.connection
        connection.autocommit = True
        until = time.monotonic() + _PATIENCE
        waiting = f"SELECT count(*) FROM pgqueue.jobs WHERE queue = '{BY_HAND}'"  # noqa: S608
        while application.execute(waiting) != [(0,)] and time.monotonic() < until:
            with suppress(pgqueue.LeaseLost):  # it hung, and is to fetch the job again
                self._fetch_one(application)

    def _fetch_one(self, application: Application) -> None:
        with pgqueue.fetch(application.connection, BY_HAND, lease=1) as job:
            if job is None:
                time.sleep(0.1)
                return
            process = str(application.execute("SHOW chaos.process")[0][0])
            self._said.write("start", job_id=job.id, attempt=job.attempt, process=process, at=now())
            job.extend(1)
            job.result = {"attempt": job.attempt}

    def _verb(self, sync: Any, asynchronous: Any) -> Any:
        return asynchronous if "Async" in self._kind else sync

    def _commit(
        self, application: Application, made: list[int], keyed: dict[int, str] | None = None
    ) -> None:
        if made:
            values = ", ".join(f"({id})" for id in made)
            application.execute(f"INSERT INTO chaos.marker VALUES {values}")  # noqa: S608  numbers
        application.commit()
        told = {**dict.fromkeys(made), **(keyed or {})}
        self._said.write_all(
            "ack", [{"job_id": id, "key": key, "at": now()} for id, key in told.items()]
        )


def _mark(connection: psycopg.Connection[Any], ids: list[int]) -> None:
    connection.execute("INSERT INTO chaos.marker SELECT unnest(%s::bigint[])", [ids])


def _of_batch(connection: psycopg.Connection[Any], batch_id: int) -> list[int]:
    rows = connection.execute("SELECT id FROM pgqueue.jobs WHERE batch_id = %s", [batch_id])
    return [row[0] for row in rows.fetchall()]
