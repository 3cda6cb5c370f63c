"""Every order of what two actors do, and of some three, step by step on real connections: no job is
lost, none has two owners, nobody overwrites his successor, every move is told once.

``make models`` runs all orders of two, and all triples, in ten orders each where there are more.
"""

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations_with_replacement

import psycopg
import pytest

from tests.models import database, scene
from tests.models.actors import CAST
from tests.models.effort import Effort
from tests.models.explorer import Actor, Cut, Theatre
from tests.models.judge import Judge

ORDERS = 2
"""So many of a pair in each cut in the small run, by the day's seed; in the large one all."""
ORDERS_OF_THREE = 10
"""The same of a triple, in both."""
TRIPLES = 5
"""So many triples in the small run, drawn by the day's seed; in the large one all."""

Explore = Callable[[Sequence[Actor], Cut, int | None], int]


@pytest.fixture(scope="module")
def explore(server: object, effort: Effort) -> Iterator[Explore]:
    """Play these actors in every order, or so many; return how many, having judged each."""
    dsn = server.create_migrated()  # type: ignore[attr-defined]
    chance = random.Random(effort.seed)
    with psycopg.connect(dsn, autocommit=True) as connection:
        database.prepare(connection)
        there = scene.build(connection)
        database.take_picture(connection)
        judge = Judge(connection, there, database.last_move(connection))

        def prepare() -> scene.Scene:
            database.restore(connection)
            return there

        with database.gated_role(connection) as role, asyncio.Runner() as runner:
            stack = Theatre.open(dsn, role, 3)
            theatre = runner.run(stack.__aenter__())

            async def play(actors: Sequence[Actor], cut: Cut, most: int | None) -> int:
                orders = 0
                async for run in theatre.explore(actors, prepare, cut, most=most, chance=chance):
                    orders += 1
                    wrong = judge.judge(run)
                    assert not wrong, f"in the order: {run}\n" + "\n".join(wrong)
                return orders

            yield lambda actors, cut, most: runner.run(play(actors, cut, most))
            runner.run(stack.__aexit__(None, None, None))
    server.drop(dsn)  # type: ignore[attr-defined]


@pytest.mark.parametrize("cut", Cut, ids=lambda cut: cut.name.lower())
@pytest.mark.parametrize("actor", CAST, ids=str)
def test_whatever_two_actors_do_at_once_is_as_promised(
    explore: Explore, effort: Effort, actor: Actor, cut: Cut
) -> None:
    """Each with itself, and with all that follow in the cast."""
    for other in CAST[CAST.index(actor) :]:
        assert explore([actor, other], cut, None if effort.is_large else ORDERS) > 0


@pytest.mark.parametrize("cut", Cut, ids=lambda cut: cut.name.lower())
def test_whatever_three_actors_do_at_once_is_as_promised(
    explore: Explore, effort: Effort, cut: Cut
) -> None:
    triples = list(combinations_with_replacement(CAST, 3))
    if not effort.is_large:
        triples = random.Random(effort.seed).sample(triples, TRIPLES)
    for actors in triples:
        assert explore(actors, cut, ORDERS_OF_THREE) > 0
