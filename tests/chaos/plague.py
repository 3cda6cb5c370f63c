"""Draws faults from a seed, one every so often, overlapping; and heals them all in the end."""

import heapq
import itertools
import time
from collections import Counter
from collections.abc import Iterator, Sequence

import psycopg

from tests.chaos.faults import KINDS, Harm, Missed, World
from tests.chaos.logbook import now

MORE_OFTEN = ("worker killed", "worker killed", "worker frozen")


class Plague:
    """Every kind once, in an order that the seed decides, then all again."""

    def __init__(self, world: World, *, every: float, kinds: Sequence[str] = ()) -> None:
        """*kinds*: only these. Default: all, and some more often."""
        self._world = world
        self._kinds = kinds or (*KINDS, *MORE_OFTEN)
        self._every = every
        self._deck: list[str] = []
        self._due: list[tuple[float, int, str, Iterator[Harm], Harm, float]] = []
        self._numbers = itertools.count()
        self._next_at = time.monotonic() + every
        self.done: Counter[str] = Counter()

    @property
    def raging(self) -> list[str]:
        return [entry[2] for entry in self._due]

    def rage(self, *, until: float) -> None:
        """End what is due to end; begin what is due to begin."""
        while self._due and self._due[0][0] <= time.monotonic():
            self._end()
        if self._next_at <= time.monotonic() < until:
            gap = self._world.random.uniform(0.5, 1.5) * self._every
            self._next_at = time.monotonic() + gap
            self._begin(self._draw())

    def heal(self) -> None:
        """End all that goes on."""
        while self._due:
            self._end()

    def _draw(self) -> str:
        if not self._deck:
            self._deck = list(self._kinds)
            self._world.random.shuffle(self._deck)
        return self._deck.pop()

    def _begin(self, kind: str) -> None:
        began = now()
        fault = iter(KINDS[kind](self._world))
        try:
            harm = next(fault)
        except (Missed, psycopg.Error):
            return  # there was nothing to do it to
        end = time.monotonic() + harm.seconds
        heapq.heappush(self._due, (end, next(self._numbers), kind, fault, harm, began))

    def _end(self) -> None:
        self._finish(heapq.heappop(self._due))

    def _finish(self, entry: tuple[float, int, str, Iterator[Harm], Harm, float]) -> None:
        _, _, kind, fault, harm, began = entry
        for _ in fault:
            raise AssertionError(f"{kind} yields once")
        self._world.note_down(kind, harm, began, now())
        self.done[kind] += 1
