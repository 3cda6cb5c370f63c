"""What every measure is given: a server, sizes, and somebody to tell how far it is."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from bench.progress import say
from bench.sizes import Sizes


@dataclass(slots=True)
class Setting:
    dsn: str
    sizes: Sizes
    prefix: str = ""
    """Before every line of progress: which measure of how many this is."""
    _begun: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - self._begun), 60)
        say(f"[{minutes:3}:{seconds:02}] {self.prefix}{text}")

    def rounds(self, what: str, *, slow: bool = False) -> Iterator[int]:
        """Count the rounds of *what*, aloud."""
        rounds = self.sizes.slow_rounds if slow else self.sizes.rounds
        for number in range(rounds):
            self.say(f"{what}, round {number + 1} of {rounds}")
            yield number
