"""Runs every order of the steps of two or three actors: what PostgreSQL's isolationtester does.

An actor is a generator like an operation: it yields statements and is sent their rows, and yields
an ``End`` where its transaction ends; each yield is a step. It has a connection of its own. A step
that does not come back because somebody holds its lock is *blocked*, as ``pg_blocking_pids()``
says; it comes back by itself when the other lets go.

Two ways to cut:

``LOCKS``  between the statements of a transaction, and before its end, in every order there is:
           what is not committed is in the others' way.
``LOOKS``  within one statement, once it has its snapshot and looks at its first row, before it
           locks it. The others do all that they do meanwhile, so that what it saw is history.
           Each statement in turn; see ``database.gated_role``.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import permutations
from math import factorial, prod
from typing import Any, NamedTuple

import psycopg
from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from pgqueue.storage.connect import SESSION
from pgqueue.storage.operation import Row, Statement

_GATE = 17
_PATIENCE = 0.001
"""Seconds after which it is asked whether a step waits for somebody."""
_STUCK = 60.0
_ALL = 9
"""No actor has more transactions."""


class Cut(Enum):
    LOCKS = auto()
    LOOKS = auto()


class End(Enum):
    """How a transaction ends."""

    COMMIT = "COMMIT"
    ROLLBACK = "ROLLBACK"


class Told(NamedTuple):
    """What an actor was told has happened, in the words of ``chaos.history``."""

    kind: str
    job_id: int | None = None
    """None: one, whichever."""
    attempt: int | None = None
    is_state: bool = False
    """Told how the job stands; perhaps it did before."""
    checkpoint: str | None = None
    """Of a claim: from where the attempt is to resume."""


Play = Generator[Statement | End, list[Row], list[Told]]


class Actor(NamedTuple):
    """Somebody who does something, step by step."""

    name: str
    play: Callable[[Any], Play]
    level: str = "READ COMMITTED"
    may_fail: tuple[type[psycopg.Error], ...] = ()
    """With what Postgres may answer, for that it is tried again."""

    def __str__(self) -> str:
        return self.name


@dataclass
class Player:
    """An actor on its connection."""

    actor: Actor
    connection: AsyncConnection[Any]
    play: Play
    next_step: Statement | End | None = None
    task: "asyncio.Task[None] | None" = None
    is_gated: bool = False
    looks: int = 0
    """Statements so far, counted down to the one that is to stop at the gate; 0: none is."""
    told: list[Told] = field(default_factory=list)
    error: psycopg.Error | None = None

    def __post_init__(self) -> None:
        self.pid = self.connection.info.backend_pid
        self._go_on(None)

    @property
    def is_over(self) -> bool:
        return self.next_step is None and self.task is None

    @property
    def can_go_on(self) -> bool:
        return self.is_gated if self.task else self.next_step is not None

    async def perform(self, cut: Cut, shut: Callable[[], Awaitable[None]]) -> None:
        """Do the next step; with ``LOOKS``, all until the end of the transaction. *shut* shuts the
        gate before the statement that is to stop at it."""
        try:
            while self.next_step is not None:
                step = self.next_step
                if isinstance(step, End):
                    await self.connection.execute(step.value)
                    return self._go_on([])
                self.looks -= 1
                if self.looks == 0:
                    await shut()
                self._go_on(await self._execute(step))
                if cut is Cut.LOCKS:
                    return
        except psycopg.Error as error:
            await self.connection.rollback()
            self.error, self.next_step = error, None

    def _go_on(self, rows: list[Row] | None) -> None:
        try:
            self.next_step = next(self.play) if rows is None else self.play.send(rows)
        except StopIteration as stop:
            self.next_step, self.told = None, stop.value

    async def _execute(self, statement: Statement) -> list[Row]:
        if self.connection.info.transaction_status == TransactionStatus.IDLE:
            await self.connection.execute(f"BEGIN ISOLATION LEVEL {self.actor.level}".encode())
        async with self.connection.cursor(row_factory=tuple_row) as cursor:
            await cursor.execute(statement.sql.encode(), statement.params)
            return await cursor.fetchall() if cursor.description else []


@dataclass(frozen=True, slots=True)
class Run:
    """One order, and what came of it."""

    players: list[Player]
    order: list[str]
    """Who did a step; in brackets what it met."""
    choices: list[tuple[list[int], int]]
    """At each step: who could go on, and who did."""

    def __str__(self) -> str:
        return " ".join(self.order)


class Theatre:
    """Connections to play on, and one to direct them."""

    def __init__(
        self, director: AsyncConnection[Any], connections: Sequence[AsyncConnection[Any]]
    ) -> None:
        self._director = director
        self._connections = connections
        self._gates: set[int] = set()
        self._counted: dict[Actor, int] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls, dsn: str, role: str, size: int) -> AsyncIterator["Theatre"]:
        """A theatre for *size* actors, whose connections are as a worker's, of this *role*."""
        async with AsyncExitStack() as stack:
            director, *connections = [
                await stack.enter_async_context(
                    await AsyncConnection.connect(dsn, autocommit=True, prepare_threshold=1)
                )
                for _ in range(size + 1)
            ]
            for connection in connections:
                await connection.execute(SESSION, {"local": False})
                await connection.execute(
                    f"SET deadlock_timeout = '20ms'; SET lock_timeout = 0;"
                    f" SET synchronous_commit = off; SET ROLE {role}".encode()
                )
            yield cls(director, connections)

    async def explore(
        self,
        actors: Sequence[Actor],
        prepare: Callable[[], Any],
        cut: Cut,
        *,
        most: int | None = None,
        chance: random.Random | None = None,
    ) -> AsyncIterator[Run]:
        """Yield a run for every order there is, each in the world that *prepare* makes anew; where
        there are more than *most*, so many by *chance*."""
        if cut is Cut.LOOKS:
            looks = [
                (looker, look, order)
                for looker, actor in enumerate(actors)
                for look in range(1, 1 + await self._statements(actor, prepare))
                for order in _around_a_look(looker, len(actors))
            ]
            if most is not None and len(looks) > most:
                looks = (chance or random).sample(looks, most)
            for looker, look, order in looks:
                yield await self.perform(actors, prepare(), cut, order, (looker, look))
            return
        path: list[int] | None = []
        while path is not None:
            run = await self.perform(actors, prepare(), cut, path)
            yield run
            if most is not None and _count(run.choices) > most:
                break
            path = _next_path(run.choices)
        else:
            return
        steps = [chosen for _, chosen in run.choices]
        for _ in range(most - 1):
            (chance or random).shuffle(steps)
            yield await self.perform(actors, prepare(), cut, steps)

    async def perform(
        self,
        actors: Sequence[Actor],
        world: Any,
        cut: Cut,
        path: Sequence[int] = (),
        gate: tuple[int, int] = (0, 0),
    ) -> Run:
        """Play the *actors* once: in the order of *path*, as far as that is possible, then whoever
        can go on. *gate*: which of them stops at which of its statements."""
        players = [
            Player(actor, connection, actor.play(world))
            for actor, connection in zip(actors, self._connections, strict=False)
        ]
        players[gate[0]].looks = gate[1]
        run = Run(players, [], [])
        wanted = list(path)
        while not all(player.is_over for player in players):
            able = [n for n, player in enumerate(players) if player.can_go_on]
            if able:
                # Who has to wait is passed over, and comes when he can.
                chosen = next((n for n in wanted if n in able), able[0])
                if chosen in wanted:
                    wanted.remove(chosen)
                run.choices.append((able, chosen))
                run.order.append(players[chosen].actor.name)
                await self._go_on(players[chosen], cut)
            else:
                await self._await_verdict(players)
            await self._settle(run)
        return run

    async def _statements(self, actor: Actor, prepare: Callable[[], Any]) -> int:
        """How many statements the actor has when he is alone."""
        if actor not in self._counted:
            run = await self.perform([actor], prepare(), Cut.LOOKS)
            self._counted[actor] = -run.players[0].looks
        return self._counted[actor]

    async def _go_on(self, player: Player, cut: Cut) -> None:
        if player.task is not None:
            await self._open(player)
            return

        async def shut() -> None:
            await self._direct("SELECT pg_advisory_lock(%s, %s)", _GATE, player.pid)
            self._gates.add(player.pid)

        player.task = asyncio.create_task(player.perform(cut, shut))

    async def _settle(self, run: Run) -> None:
        """Wait until every step has come back or waits for somebody. Whoever comes back may have
        let go of what another waits for."""
        pids = {player.pid for player in run.players}
        while True:
            pending = [p for p in run.players if p.task is not None and not p.is_gated]
            came_back = [await self._wait(player, pids, run) for player in pending]
            if not any(came_back):
                return

    async def _wait(self, player: Player, pids: set[int], run: Run) -> bool:
        """Return whether the step of *player* has come back; otherwise it waits for somebody."""
        assert player.task is not None
        async with asyncio.timeout(_STUCK):
            while not (await asyncio.wait({player.task}, timeout=_PATIENCE))[0]:
                rows = await self._direct("SELECT pg_blocking_pids(%s)", player.pid)
                blockers = set(rows[0][0])
                if self._director.info.backend_pid in blockers:
                    player.is_gated = True
                    run.order.append(f"({player.actor.name} has looked)")
                    return False
                if blockers & pids:
                    run.order.append(f"({player.actor.name} waits)")
                    return False
        await player.task
        player.task = None
        await self._open(player)
        if player.error is not None:
            run.order.append(f"({player.actor.name}: {type(player.error).__name__})")
        return True

    async def _await_verdict(self, players: Sequence[Player]) -> None:
        """All wait for each other: the server ends one of them."""
        waiting = {player.task for player in players if player.task is not None}
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED, timeout=_STUCK)
        assert done, "everybody waits, and not for each other"

    async def _open(self, player: Player) -> None:
        player.is_gated = False
        if player.pid in self._gates:
            self._gates.remove(player.pid)
            await self._direct("SELECT pg_advisory_unlock(%s, %s)", _GATE, player.pid)

    async def _direct(self, query: str, *params: Any) -> list[Row]:
        return await (await self._director.execute(query.encode(), params)).fetchall()


def _next_path(choices: Sequence[tuple[list[int], int]]) -> list[int] | None:
    """The choices that lead to the next order, depth first; None: that was the last."""
    for depth in reversed(range(len(choices))):
        able, chosen = choices[depth]
        later = [n for n in able if n > chosen]
        if later:
            return [*(chosen for _, chosen in choices[:depth]), later[0]]
    return None


def _count(choices: Sequence[tuple[list[int], int]]) -> int:
    """In how many orders these steps can be done, if nobody has to wait."""
    steps = [chosen for _, chosen in choices]
    return factorial(len(steps)) // prod(factorial(steps.count(n)) for n in set(steps))


def _around_a_look(looker: int, size: int) -> Iterator[tuple[int, ...]]:
    """The orders in which something happens between the two steps of the one who looks."""
    others = [n for n in range(size) if n != looker]
    for order in sorted(set(permutations([looker, looker, *others]))):
        if order[order.index(looker) + 1] != looker:
            yield tuple(n for who in order for n in [who] * (1 if who == looker else _ALL))
