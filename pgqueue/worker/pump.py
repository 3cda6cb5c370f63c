"""The pump: writes the last outcomes and claims the next jobs, in one transaction, over and
over."""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from contextlib import suppress

import psycopg
from psycopg.errors import LockNotAvailable

from pgqueue.failpoints import reach
from pgqueue.job import Job
from pgqueue.notes import Said
from pgqueue.outcome import Committed, Lost, Outcome
from pgqueue.storage import finishing, jobs, rollups, upkeep
from pgqueue.storage.sqlstate import Remedy, remedy
from pgqueue.tasks import Tasks
from pgqueue.worker.bell import Bell
from pgqueue.worker.claimer import Claimer
from pgqueue.worker.clock import boottime
from pgqueue.worker.completer import Completer
from pgqueue.worker.crew import Crew
from pgqueue.worker.exchange import Exchange
from pgqueue.worker.holdings import Holdings
from pgqueue.worker.noter import Noter
from pgqueue.worker.notes import Notes
from pgqueue.worker.session import Session
from pgqueue.worker.settings import Settings
from pgqueue.worker.tally import Tally
from pgqueue.worker.unstorable import instead

log = logging.getLogger("pgqueue.worker")

BATCH = 1000
_FIRST_WAIT = 0.002
_DEAF_POLL = 0.25
_FLOW_POLL = 0.004
_GATHER = 0.005


class Pump:
    """Moves jobs between Postgres and the crew, on one connection.

    Polling is the truth: every wait has a bound. ``wake`` and ``ring`` end one early.
    """

    def __init__(
        self,
        session: Session,
        bell: Bell,
        *,
        worker_id: str,
        tasks: Tasks,
        settings: Settings,
        holdings: Holdings,
        claimer: Claimer,
        crew: Crew,
        completer: Completer,
        notes: Notes,
        tally: Tally,
    ) -> None:
        self._session = session
        self._bell = bell
        self._worker_id = worker_id
        self._registry = tasks
        self._settings = settings
        self._holdings = holdings
        self._crew = crew
        self._completer = completer
        self._noter = Noter(session, notes, worker_id=worker_id)
        self._tally = tally
        self._claimer = claimer
        self._wake = asyncio.Event()
        self._claiming = True
        self._unread: Exchange | None = None
        """The last exchange, when the next one could be sent before its answer is read."""
        self._sent_at = 0.0
        self._sending = False
        self._hungry: Set[str] = frozenset()
        """The queues that had fewer jobs than were wanted."""
        self._short: Set[str] = frozenset()
        """The same, unless somebody has rung since they were asked."""
        self._rang_at = 0.0
        self._needs_partitions = False
        self._made_partitions = False
        """Since a batch was last written."""
        self._wait = _FIRST_WAIT
        self.is_deaf: Callable[[], bool] = lambda: False
        """Whether no ring can be heard at present: then the polls are closer."""
        self.on_round_trip: Callable[[float], None] | None = None
        """Called with the seconds that writing outcomes and claiming jobs took, each time."""

    def wake(self) -> None:
        """End the present wait: there is an outcome to write, or news of a job in hand."""
        self._wake.set()

    def ring(self) -> None:
        """A job was made available: look now, and soon again."""
        self._wait = _FIRST_WAIT
        self._short, self._rang_at = frozenset(), boottime()
        self._claimer.look_soon()
        self._wake.set()

    def stop_claiming(self) -> None:
        """Claim nothing from now on; outcomes are still written."""
        self._claiming = False
        self._wake.set()

    @property
    def _may_claim(self) -> bool:
        return self._claiming and not self._holdings.giving_up

    @property
    def is_claiming(self) -> bool:
        """Whether jobs may be ours of which nobody here knows yet."""
        return self._sending or self._unread is not None

    async def run(self) -> None:
        """Forever: turn by turn. Outlives every outage; raises what a person must mend."""
        while True:
            try:
                if not self._session.is_open:
                    await self._read()  # an answer that is here is not lost
                if await self._session.open():
                    await self._connected()
                is_busy = await self._turn()
                await self._tell()
                if not is_busy:
                    await self._rest()
            except Exception as error:  # noqa: BLE001  sorted by the table of remedies
                await self._mend(error)

    async def _turn(self) -> bool:
        """Write what is pending and claim what is wanted; return whether to go on at once.

        An answer that was left unread is read before anything else is waited for: until then nobody
        renews what it brought."""
        self._wake.clear()
        if self._completer.in_doubt or self._needs_partitions:
            await self._read()
            await self._clear_doubts()
        if self._may_claim and not len(self._holdings) and self._claimer.emptied():
            return await self._claim_apart()
        unread = self._unread
        batch = self._completer.take(BATCH, after=unread.batch if unread else ())
        limits = self._claimer.limits(unread.coming if unread else {}) if self._may_claim else {}
        if unread is not None and not (batch and limits.keys() - self._short):
            return await self._read()
        if batch and self._could_gather(limits):
            await self._gather()
            return True
        self._claimer.lose_patience()
        said = self._noter.take(batch)
        if said:
            await self._read()
            said = await self._noter.lighten(said)
        elif not batch and not limits:
            await self._mind_the_bells(())
            return False
        exchange = self._exchange(batch, limits, said, unread)
        try:
            await self._send(exchange)
        except Exception as error:
            if await self._noter.spare(said, error):
                return True
            if not batch or not await self._spare_the_others(batch, error):
                raise
            return True
        self._unread = exchange
        is_busy = True if exchange.may_wait else await self._read()
        await self._mind_the_bells(self._hungry)
        return is_busy

    def _exchange(
        self,
        batch: Sequence[Outcome],
        limits: Mapping[str, int],
        said: Sequence[Said],
        unread: Exchange | None,
    ) -> Exchange:
        coming = unread.claim.bytes_left if unread is not None and unread.claim is not None else {}
        looks = bool(limits) and self._claimer.wants_look()
        return Exchange(
            said=said,
            notes=self._noter.statements(said),
            batch=batch,
            writes=self._writes(batch),
            claim=self._claimer.claim(limits, coming) if limits else None,
            look=self._claimer.find_suspects() if looks else None,
        )

    async def _send(self, exchange: Exchange) -> None:
        """Run the statements of *exchange* in one transaction. While the server does, read the
        answer to those before it: so neither side waits for the other."""
        if exchange.batch:
            reach("before commit")
        exchange.sent = self._sent_at = boottime()
        meanwhile = self._read if self._unread is not None else None
        self._sending = True
        try:
            exchange.answers = await self._session.exchange(exchange.statements, meanwhile)
        finally:
            self._sending = False
        exchange.answered = self._session.answered_at
        if self.on_round_trip is not None:
            self.on_round_trip(exchange.answered - exchange.sent)
        if exchange.batch:
            reach("after commit")

    async def _read(self) -> bool:
        """Read the last answer, if that is still to be done: let go of what was written, and start
        what was claimed. Return whether there is more to do at once."""
        exchange, self._unread = self._unread, None
        if exchange is None:
            return False
        written, came, found = await exchange.read()
        if exchange.look is not None:
            self._claimer.looked(found)
        claimed: list[Job] = []
        limits: Mapping[str, int] = {}
        if exchange.claim is not None:
            limits = exchange.claim.limits
            claimed = self._claimer.claimed(exchange.claim, came)
            if self._claimer.now is not None:
                self._tally.synchronise(self._claimer.now, exchange.answered)
        self._completer.written(exchange.batch, finishing.accepted(exchange.writes, written))
        self._noter.written(exchange.said)
        self._made_partitions = False
        if claimed:
            self._wait = _FIRST_WAIT
            self._bell.flow.claimed()
            reach("after claim")
        self._crew.offer(self._holdings.add(claimed, exchange.sent))
        self._hungry = self._claimer.short_of(limits, claimed)
        self._short = self._hungry if self._rang_at < exchange.sent else frozenset()
        return bool(claimed) or found or bool(self._completer.refused)

    async def _mind_the_bells(self, hungry: Collection[str]) -> None:
        if self._bell.note(hungry):
            await self._read()
            await self._bell.let_go()

    def _could_gather(self, limits: Mapping[str, int]) -> bool:
        """Whether outcomes had better wait for company: jobs wait here to be run, none are wanted
        but of queues that had none the last time, and an exchange was just made."""
        return (
            self._gathers_for > 0
            and limits.keys() <= self._short
            and self._crew.is_stocked(but=self._short)
        )

    @property
    def _gathers_for(self) -> float:
        return self._sent_at + _GATHER - boottime()

    async def _gather(self) -> None:
        """Let the crew go on until jobs are wanted, a few milliseconds at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._gathers_for):
                while self._crew.is_stocked(but=self._short):
                    self._wake.clear()
                    await self._wake.wait()

    async def _tell(self) -> None:
        """Tell what was counted, when it is time, and at the end. Counts are not worth a worker:
        those that the server refuses are dropped."""
        is_over = not self._claiming and not len(self._holdings)
        if not self._tally or (self._tally.due_in and not is_over):
            return
        await self._read()
        try:
            await self._session.run(rollups.tell(self._tally.take()))
        except psycopg.Error as error:
            if error.sqlstate is None or not self._session.is_open:
                raise
            log.warning("counts of jobs could not be told: %s", str(error).strip())

    async def _rest(self) -> None:
        """Wait for a ring, an outcome, or the poll. Before that, hold the bell and look once
        more."""
        if self._may_claim and not self._bell.is_held and await self._bell.hold():
            return
        longest = self._settings.poll.total_seconds()
        if self._bell.flow.is_on:
            longest = min(longest, _FLOW_POLL)
        elif self.is_deaf() or len(self._completer):
            longest = min(longest, _DEAF_POLL)
        try:
            async with asyncio.timeout(min(self._wait, longest, self._tally.due_in)):
                await self._wake.wait()
        except TimeoutError:
            self._wait = min(self._wait * 2, longest)

    async def _clear_doubts(self) -> None:
        """Ask the database what became of outcomes whose fate is not known."""
        for undecided in self._completer.doubts():
            try:
                decision = await self._decision(undecided.job, undecided.otherwise)
            except LockNotAvailable:
                self._completer.still_in_doubt()
            else:
                self._completer.decide(undecided, decision)
        if locked := self._completer.locked():
            self._completer.unlocked(await self._session.run(jobs.find_unlocked(locked)))
        refused = list(self._completer.refused)
        if refused:
            written = await self._session.run(
                jobs.find_written(worker_id=self._worker_id, held=[o.job for o in refused])
            )
            self._completer.judge_refused(refused, written)
        if self._needs_partitions:
            await self._session.run(upkeep.make_partitions())
            self._needs_partitions, self._made_partitions = False, True

    async def _decision(self, job: Job, otherwise: Outcome) -> Outcome:
        """Find out what became of a COMMIT whose answer was lost."""
        if await self._session.run(jobs.lock_undecided(worker_id=self._worker_id, job=job)):
            return otherwise
        moment = boottime()
        if await self._session.run(jobs.find_finished(worker_id=self._worker_id, job=job)):
            return Committed(job, otherwise.started, moment)
        return Lost(job, otherwise.started, moment)

    async def _claim_apart(self) -> bool:
        """Claim suspects, now that nothing else is in hand."""
        sent = boottime()
        self._sending = True
        try:
            suspects = await self._session.run(self._claimer.claim_suspects())
        finally:
            self._sending = False
        self._claimer.claimed_apart(bool(suspects))
        if suspects:
            reach("after claim")
            log.info("running apart %d jobs that were there when a worker vanished", len(suspects))
            self._crew.offer(self._holdings.add(suspects, sent))
            self._wait = _FIRST_WAIT
        return True

    async def _spare_the_others(self, batch: Sequence[Outcome], error: Exception) -> bool:
        """One outcome of the batch cannot be written: write the others. Return whether that
        helps."""
        if getattr(error, "sqlstate", None) == "55P03":
            unlocked = await self._session.run(jobs.find_unlocked([o.job.id for o in batch]))
            locked = [o for o in batch if o.job.id not in unlocked]
            self._completer.set_aside(locked)
            return True
        if remedy(error) is not Remedy.BISECT:
            return False
        if len(batch) == 1:
            log.error("%s: its outcome cannot be stored: %s", batch[0].job, error)
            self._completer.replace(batch[0], instead(batch[0], error, self._registry))
            return True
        middle = len(batch) // 2
        for half in (batch[:middle], batch[middle:]):
            writes = self._writes(half)
            try:
                answers = await self._session.run_together([write.statement for write in writes])
            except Exception as half_error:
                if not await self._spare_the_others(half, half_error):
                    raise
            else:
                self._completer.written(half, finishing.accepted(writes, answers))
        return True

    def _writes(self, batch: Sequence[Outcome]) -> list[finishing.Finish]:
        return finishing.finishes(batch, worker_id=self._worker_id, moment=boottime())

    async def _connected(self) -> None:
        """Begin on a new connection: give back what a lost answer had claimed for us."""
        held = [hold.job for hold in self._holdings.all()]
        released = await self._session.run(
            jobs.release_strays(worker_id=self._worker_id, held=held)
        )
        if released:
            log.info("gave back %d jobs whose claim was never answered", released)

    async def _mend(self, error: Exception) -> None:
        """Do what the table says about *error*; raise what waiting cannot mend."""
        cure = remedy(error)
        if cure is Remedy.PARTITION and not self._made_partitions:
            self._needs_partitions = True
        elif cure not in (Remedy.RECONNECT, Remedy.REPREPARE):
            raise error
        await self._session.recover(error)
