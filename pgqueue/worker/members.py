"""The parent's side of ``--processes N``: a member, and the line to it."""

import asyncio
import json
import logging
import socket
import subprocess
import sys

from pgqueue.metrics import Reading
from pgqueue.worker.clock import boottime
from pgqueue.worker.families import FAMILIES
from pgqueue.worker.member import Order, send_order

log = logging.getLogger("pgqueue.worker")

_MAIN = "from pgqueue.worker.member import main; raise SystemExit(main())"
_PIECE = 1 << 18


class Member:
    """One worker process, and the line to it."""

    def __init__(self, order: Order) -> None:
        self._line, theirs = socket.socketpair()
        with theirs:
            # A session of its own: a Ctrl-C in the terminal is for the parent to pass on.
            self.process = subprocess.Popen(
                [sys.executable, "-c", _MAIN, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self.started_at = boottime()
        self.figures = Reading()
        """What it said of itself last."""
        self.answered = 0
        """The number of the question to which it said that."""
        self._heard = b""
        send_order(self._line, order)
        self._line.setblocking(False)

    def tell(self, kind: str, value: str | int | bool) -> None:
        """Pass on what was heard. A hint: one that does not get through is made up for by
        polling."""
        try:
            self._line.send(json.dumps([kind, value]).encode() + b"\n")
        except OSError:
            log.debug("member %d does not listen", self.process.pid)

    def listen(self) -> None:
        """From now on, hear what it answers."""
        asyncio.get_running_loop().add_reader(self._line, self._hear)

    def close(self) -> None:
        """Hear its last words, and let go of the line."""
        asyncio.get_running_loop().remove_reader(self._line)
        while self._hear():
            pass
        self._line.close()

    def _hear(self) -> bool:
        """Take what it has said; return whether there may be more."""
        try:
            heard = self._line.recv(_PIECE)
        except OSError:
            return False
        if not heard:
            asyncio.get_running_loop().remove_reader(self._line)
        *lines, self._heard = (self._heard + heard).split(b"\n")
        for line in lines:
            question, figures = json.loads(line)
            self.answered = question or self.answered
            self.figures = Reading.from_json(figures, FAMILIES)
        return bool(heard)
