"""Keeps the values of a label few."""

from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)

OTHER = "other"
"""What all values are called that came after the first so many."""


class Names(Generic[T]):
    """The first *most* values that are asked for keep their names, for as long as this object
    lives: who has a name never loses it, or its counter would seem to begin anew under another."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._named: set[T] = set()
        self._folded: set[T] = set()

    def keeps(self, value: T) -> bool:
        """Whether *value* has a name of its own, now that it was asked for."""
        if value in self._named:
            return True
        if len(self._named) < self._most:
            self._named.add(value)
            return True
        self._folded.add(value)
        return False

    def take_folded(self) -> int:
        """Return how many values had none since this was last asked."""
        folded, self._folded = len(self._folded), set()
        return folded
