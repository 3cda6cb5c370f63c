"""Wait for a condition, but not for ever."""

import time
from collections.abc import Callable

from bench.failure import Void


def until(
    condition: Callable[[], object], what: str, every: float = 0.005, within: float = 180
) -> None:
    """Wait until *condition* holds, looking *every* so many seconds, or three times as long as the
    look itself takes. Raises :class:`Void` if that takes longer than *within* seconds."""
    give_up = time.monotonic() + within
    while True:
        looked = time.monotonic()
        if condition():
            return
        if looked > give_up:
            raise Void(f"waited {within:.0f} s in vain for {what}")
        time.sleep(max(every, 3 * (time.monotonic() - looked)))
