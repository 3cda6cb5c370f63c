"""How much is tried, and with which seed."""

from datetime import UTC, datetime
from typing import NamedTuple

from hypothesis import HealthCheck, settings

LARGE = "models"
"""The profile of ``make models``: ``pytest --hypothesis-profile=models``."""

settings.register_profile(
    LARGE, max_examples=2000, stateful_step_count=50, deadline=None, print_blob=True
)


class Effort(NamedTuple):
    """A small run, or a large one."""

    is_large: bool
    seed: int
    """The day, so that each day tries others and a failure can be had again: say it with
    ``--hypothesis-seed``."""

    def settings(self) -> settings:
        """Hypothesis's, for the state machine."""
        chosen = settings.get_profile(LARGE)
        if not self.is_large:
            chosen = settings(chosen, max_examples=150, stateful_step_count=30)
        return settings(chosen, suppress_health_check=list(HealthCheck))


def today() -> int:
    """Today as a number: 20261126."""
    return int(datetime.now(UTC).strftime("%Y%m%d"))
