"""Places at which a worker process can be told to die, as by SIGKILL: for tests of what becomes of
its jobs.

``PGQUEUE_DIE_AT="after claim"`` names the place. With ``PGQUEUE_DIE_TOKEN=FILE`` only the process
dies that can remove the file: one, once, however many pass. Read when the process starts.
"""

import os
import signal
from pathlib import Path
from typing import Literal, get_args

from pgqueue.errors import InvalidOption

Point = Literal["after claim", "before commit", "after commit"]
"""``"after claim"``: it holds jobs, and has started none of them. ``"before commit"``: a handler
has ended, and what it came to is about to be committed (a transactional one: its work, too).
``"after commit"``: that is committed, and nobody has been told."""

POINTS: tuple[Point, ...] = get_args(Point)

AT = "PGQUEUE_DIE_AT"
TOKEN = "PGQUEUE_DIE_TOKEN"


def check(point: str) -> None:
    """Raise :class:`InvalidOption` if there is no such place."""
    if point not in POINTS:
        raise InvalidOption(AT, f"must be one of {', '.join(map(repr, POINTS))}, not {point!r}")


_armed = os.environ.get(AT)
_token = os.environ.get(TOKEN)
if _armed is not None:
    check(_armed)


def reach(point: Point) -> None:
    """Say that this place is reached: nothing happens, unless the process is to die here."""
    if point == _armed:
        _die()


def _die() -> None:
    if _token is not None:
        try:
            Path(_token).unlink()
        except FileNotFoundError:
            return
    os.kill(os.getpid(), signal.SIGKILL)
