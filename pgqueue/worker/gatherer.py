"""The gatherer: the figures of all members of ``--processes N``, added up by their parent."""

import asyncio
from collections.abc import Sequence

from pgqueue.metrics import Reading
from pgqueue.worker import families
from pgqueue.worker.clock import boottime
from pgqueue.worker.listener import Ears
from pgqueue.worker.maintenance import Maintenance
from pgqueue.worker.members import Member
from pgqueue.worker.meter import add_chores

_WITHIN = 2.0
"""Seconds that members have for their answer."""
_LOOK_EVERY = 0.005


class Gatherer:
    """Asks *members* (a list that others change) for their figures when somebody wants them.

    What a member has counted goes on being counted when it is no more, so that no counter ever goes
    backwards: by its last words, or if it was killed by what it said last before. One whose event
    loop is blocked does not answer: of it what it counted before, and nothing of how it stands."""

    def __init__(self, members: Sequence[Member], ears: Ears, maintenance: Maintenance) -> None:
        self._members = members
        self._ears = ears
        self._maintenance = maintenance
        self._question = 0
        self._retired = Reading()
        self._exits = 0

    def retire(self, member: Member) -> None:
        """The member has ended."""
        self._exits += 1
        self._retired.add(member.figures, gauges=False)

    async def read(self) -> Reading:
        """Return the figures of all of them together."""
        self._question += 1
        for member in self._members:
            member.tell("figures", self._question)
        until = boottime() + _WITHIN
        while not all(map(self._has_answered, self._members)) and boottime() < until:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_EVERY)
        reading = Reading()
        answering = sum(map(self._has_answered, self._members))
        reading.put(families.PROCESSES, len(self._members), "running")
        reading.put(families.PROCESSES, answering, "answering")
        reading.put(families.EXITS, self._exits)
        reading.add(self._retired)
        for member in self._members:
            reading.add(member.figures, gauges=self._has_answered(member))
        reading.put(families.LISTENER, self._ears.is_up)
        add_chores(reading, self._maintenance)
        return reading

    def _has_answered(self, member: Member) -> bool:
        return member.answered == self._question
