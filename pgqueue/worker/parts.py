"""The parts of a worker, and how they are put together: who calls whom."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from pgqueue.storage.schema import Identity
from pgqueue.tasks import Tasks
from pgqueue.worker.backstop import Backstop
from pgqueue.worker.bell import Bell
from pgqueue.worker.children import Children
from pgqueue.worker.claimer import Claimer
from pgqueue.worker.completer import Completer
from pgqueue.worker.crew import Crew, call_from_thread
from pgqueue.worker.effects import Effects, on_session
from pgqueue.worker.executor import Executor
from pgqueue.worker.heartbeat import Heartbeat
from pgqueue.worker.holdings import Holdings
from pgqueue.worker.hooks import Reporter
from pgqueue.worker.leases import Leases
from pgqueue.worker.listener import Ears, Listener
from pgqueue.worker.maintenance import Maintenance
from pgqueue.worker.notes import Notes
from pgqueue.worker.pump import Pump
from pgqueue.worker.scout import Scout
from pgqueue.worker.session import Session
from pgqueue.worker.settings import Settings
from pgqueue.worker.tally import Tally
from pgqueue.worker.transaction import Transactions

_TICK = 0.002
"""An alarm goes off a moment late: never before its time by another clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What every part is built on."""

    worker_id: str
    tasks: Tasks
    dsn: str
    settings: Settings
    tasks_path: str | None
    home: Identity
    state: Any
    """What the lifespan yielded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Everything that runs in a worker."""

    sessions: list[Session]
    holdings: Holdings
    tally: Tally
    reporter: Reporter
    completer: Completer
    effects: Effects
    children: Children | None
    executor: Executor
    heartbeat: Heartbeat
    crew: Crew
    claimer: Claimer
    pump: Pump
    scout: Scout
    maintenance: Maintenance | None
    ears: Ears


def assemble(
    frame: Frame,
    session: Session,
    *,
    ears: Ears | None,
    on_news: Callable[[], None],
    on_stuck: Callable[[], None] | None,
) -> Parts:
    """Put the parts together. *session* becomes the pump's; *on_news* is called on this event loop
    after each renewal, *on_stuck* in the heartbeat's thread."""
    settings, tasks = frame.settings, frame.tasks
    sessions = [session]
    bell_session = session
    if settings.listen_dsn is not None:
        bell_session = Session(settings.listen_dsn, "bell")
        sessions.append(bell_session)
    maintenance = None
    if settings.maintenance:
        maintenance = Maintenance(Session(frame.dsn, "maintenance"), settings)
        sessions.append(maintenance.session)
    ears = ears or Listener(settings.listen_dsn or frame.dsn)
    holdings = Holdings()
    tally = Tally()
    expect = maintenance.expect if maintenance is not None else _expect_nothing
    reporter = Reporter(tasks, frame.worker_id, tally, on_retry=expect)
    completer = Completer(holdings, on_pending=lambda: pump.wake(), on_written=reporter.report)
    loop = asyncio.get_running_loop()
    leases = Leases(settings.lease.total_seconds(), on_ask=lambda: heartbeat.nudge())
    notes = Notes(
        holdings,
        leases,
        on_due=lambda seconds: call_from_thread(
            loop, partial(loop.call_later, seconds + _TICK, lambda: pump.wake())
        ),
    )
    guard = Session(frame.dsn, "effects")
    sessions.append(guard)
    effects = Effects(on_session(guard), worker_id=frame.worker_id)
    children = _children(frame, notes, effects)
    executor = Executor(
        tasks,
        threads=sum(settings.queues.values()),
        state=frame.state,
        transaction=_transactions(frame, notes),
        children=children,
        scribe=notes,
        registrar=effects,
        lease=settings.lease.total_seconds(),
    )
    heartbeat = Heartbeat(
        frame.dsn,
        worker_id=frame.worker_id,
        tasks=tasks,
        settings=settings,
        holdings=holdings,
        leases=leases,
        is_listening=lambda: ears.is_up,
        on_news=lambda: call_from_thread(loop, on_news),
        backstop=Backstop(
            frame.dsn,
            worker_id=frame.worker_id,
            tasks=tasks,
            holdings=holdings,
            notes=notes,
            pulse=lambda: crew.ticked_at,
            on_stuck=on_stuck,
        ),
    )
    crew = Crew(
        queues=settings.queues,
        prefetch=settings.prefetch,
        executor=executor,
        on_start=tally.start,
        on_outcome=completer.add,
        is_fresh=heartbeat.is_fresh,
        on_stale=heartbeat.nudge,
    )
    claimer = Claimer(crew, worker_id=frame.worker_id, tasks=tasks, lease=settings.lease)
    pump = Pump(
        session,
        Bell(bell_session, own=bell_session is not session),
        worker_id=frame.worker_id,
        tasks=tasks,
        settings=settings,
        holdings=holdings,
        claimer=claimer,
        crew=crew,
        completer=completer,
        notes=notes,
        tally=tally,
    )
    scout = Scout(Session(frame.dsn, "scout"), claimer, tasks=tasks.names, on_found=pump.ring)
    sessions.append(scout.session)
    claimer.on_slow = scout.wake
    ears.on_ring = lambda queue: _ring(pump, queue, settings)
    ears.on_cancel = holdings.request_cancel
    pump.is_deaf = lambda: not ears.is_up
    return Parts(
        sessions=sessions,
        holdings=holdings,
        tally=tally,
        reporter=reporter,
        completer=completer,
        effects=effects,
        children=children,
        executor=executor,
        heartbeat=heartbeat,
        crew=crew,
        claimer=claimer,
        pump=pump,
        scout=scout,
        maintenance=maintenance,
        ears=ears,
    )


def _children(frame: Frame, notes: Notes, effects: Effects) -> Children | None:
    wanted = any(task.executor == "process" for task in frame.tasks)
    if frame.tasks_path is None or not wanted:
        return None
    return Children(
        path=frame.tasks_path,
        size=sum(frame.settings.queues.values()),
        max_jobs=frame.settings.child_max_jobs,
        memory_mb=frame.settings.child_memory_mb,
        notes=notes,
        registrar=effects,
    )


def _transactions(frame: Frame, notes: Notes) -> Transactions | None:
    if frame.tasks.transaction is None:
        return None
    return Transactions(
        frame.tasks,
        frame.tasks.transaction,
        worker_id=frame.worker_id,
        home=frame.home,
        notes=notes,
    )


def _ring(pump: Pump, queue: str, settings: Settings) -> None:
    """A ring without a queue may be for any."""
    if not queue or queue in settings.queues:
        pump.ring()


def _expect_nothing(seconds: float) -> None:
    """Another process stages what falls due."""
