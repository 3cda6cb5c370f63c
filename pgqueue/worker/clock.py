"""The clock that goes on while a machine sleeps: a lease does not stop for a frozen worker."""

import time

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # macOS: monotonic counts sleep


def boottime() -> float:
    """Return seconds since some fixed moment, time asleep included."""
    return time.clock_gettime(_CLOCK)
