"""Single enqueue: one job a commit, while the workers are absent, busy or asleep.

Absent: no worker. Busy: one that has no slot free, so nobody needs waking. Asleep: an idle one that
each enqueue may wake; it then runs the jobs on the same CPUs, while the lean INSERT gives it
nothing to do, and what the INSERT of the same row made is found by its poll alone. Clients are
processes.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

import psycopg

import pgqueue
from bench import bare, enqueueing, store
from bench.clients import Clients, Work, client_processes
from bench.failure import require
from bench.figure import OURS, Figure
from bench.payload import WARM_UP
from bench.setting import Setting
from bench.tasks import hold
from bench.waiting import until
from bench.workers import Team, workers

CONNECTIONS = (1, 8, 32)
STATES = ("absent", "busy", "asleep")
SLOTS = 10


def line(connections: int, state: str) -> str:
    plural = "s" if connections > 1 else ""
    return f"single enqueue, {connections} connection{plural}, workers {state}"


def measure(setting: Setting) -> Iterator[Figure]:
    with client_processes(max(CONNECTIONS)) as clients:
        for state in STATES:
            for connections in CONNECTIONS:
                for _ in setting.rounds(line(connections, state)):
                    yield from _round(setting, clients, connections, state)
    store.clear(setting.dsn)


def _round(setting: Setting, clients: Clients, connections: int, state: str) -> Iterator[Figure]:
    works: list[tuple[str, Work, bool]] = [
        (bare.WHO_LEAN_INSERT, bare.insert_singly, False),
        (bare.WHO_ROW_INSERT, bare.insert_rows_singly, True),
        (OURS, enqueueing.enqueue_singly, True),
    ]
    each = max(setting.sizes.singles // connections, 1)
    for who, work, makes_jobs in works:
        store.clear(setting.dsn)
        bare.create(setting.dsn)
        made = connections * (each + WARM_UP) if makes_jobs else 0
        with _team(setting.dsn, state) as team:
            held = _occupy(setting.dsn, team) if team and state == "busy" else 0
            store.settle(setting.dsn, "pgqueue.jobs, bare.jobs")
            seconds = clients.together(work, setting.dsn, each, clients=connections)
            yield Figure(line(connections, state), who, connections * each / seconds, "jobs/s")
            if team is None:
                waiting = store.count(setting.dsn, "pgqueue.jobs")
                require(waiting == made, f"{waiting} jobs wait after {made} enqueues")
                continue
            team.release()
            _await_calls(team, held + made)
            until(lambda: not store.count(setting.dsn, "pgqueue.jobs"), "the last outcomes")
            require(team.calls == held + made, f"{team.calls} calls for {held + made} jobs")
        store.require_finished(setting.dsn, held + made)


def _team(dsn: str, state: str) -> AbstractContextManager[Team | None]:
    if state == "absent":
        return nullcontext()
    return workers(dsn, 1, queues={"default": SLOTS}, prefetch=0 if state == "busy" else None)


def _occupy(dsn: str, team: Team) -> int:
    """Take all slots; return how many jobs that took."""
    with psycopg.connect(dsn) as connection:
        pgqueue.enqueue_many(connection, [hold.job(number=number) for number in range(SLOTS)])
    _await_calls(team, SLOTS)
    return SLOTS


def _await_calls(team: Team, calls: int) -> None:
    is_enough: Callable[[], bool] = lambda: team.calls >= calls  # noqa: E731
    until(is_enough, f"{calls} handler calls")
