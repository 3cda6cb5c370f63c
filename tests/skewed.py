"""Imported first in a process: what its clock shows is then off by so many seconds.

``time.time`` and ``datetime.now`` are; intervals (monotonic clocks) are not."""

import datetime
import os
import time
from typing import Any

SKEW = "PGQUEUE_TEST_SKEW"

_seconds = float(os.environ.get(SKEW) or 0)


def _skew(seconds: float) -> None:
    real = datetime.datetime
    true_time = time.time

    class Meta(type):
        def __instancecheck__(cls, instance: Any) -> bool:
            return isinstance(instance, real)

    class Skewed(real, metaclass=Meta):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return real.fromtimestamp(true_time() + seconds, tz)

        @classmethod
        def utcnow(cls) -> Any:
            return real.fromtimestamp(true_time() + seconds, datetime.UTC).replace(tzinfo=None)

    time.time = lambda: true_time() + seconds
    datetime.datetime = Skewed  # type: ignore[misc]


if _seconds:
    _skew(_seconds)
