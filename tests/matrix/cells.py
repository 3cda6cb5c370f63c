"""Which combinations of versions are tested, and how much of the suite each gets."""

from dataclasses import dataclass
from typing import Literal

OLDEST = "3.11"
NEWEST = "newest"
"""The newest Python that this machine has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One combination."""

    postgres: int
    python: str
    dependencies: Literal["lowest", "highest"]
    suite: Literal["full", "smoke"]

    @property
    def name(self) -> str:
        return f"pg{self.postgres}-py{self.python}-{self.dependencies}"


CELLS = (
    Cell(postgres=15, python=OLDEST, dependencies="highest", suite="full"),
    Cell(postgres=15, python=OLDEST, dependencies="lowest", suite="full"),
    Cell(postgres=16, python=OLDEST, dependencies="highest", suite="smoke"),
    Cell(postgres=17, python=OLDEST, dependencies="highest", suite="smoke"),
    Cell(postgres=18, python=OLDEST, dependencies="highest", suite="full"),
    Cell(postgres=18, python=NEWEST, dependencies="highest", suite="full"),
)
