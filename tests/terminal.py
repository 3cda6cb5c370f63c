"""A command in a terminal of its own: what it draws, the keys it gets, and how it leaves."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from tests.command import MAIN, environment

HOME = "\x1b[H"


class Terminal:
    """Runs ``pgqueue`` in a pseudo-terminal of *size* (columns, lines)."""

    def __init__(
        self, *words: str, dsn: str, size: tuple[int, int] = (80, 24), **more: str
    ) -> None:
        self._own, self.theirs = pty.openpty()
        self.resize(*size)
        self.modes: Any = termios.tcgetattr(self.theirs)
        variables = {**environment(dsn, {"TERM": "xterm-256color", **more})}
        for name in ("NO_COLOR", "COLUMNS", "LINES"):
            if name not in more:
                variables.pop(name, None)
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._own)
            os.login_tty(self.theirs)
            os.execve(MAIN[0], [*MAIN, *words], variables)
        self.output = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        for end in (self._own, self.theirs):
            os.close(end)

    @property
    def screen(self) -> str:
        """The last whole frame, without colours."""
        frames = self.output.split(HOME)
        whole = frames[-1] if "\x1b[J" in frames[-1] else frames[-2] if len(frames) > 1 else ""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", whole).replace("\r", "")

    def press(self, keys: str) -> None:
        os.write(self._own, keys.encode())

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._own, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def until(self, condition: Callable[[], object], *, within: float = 60.0) -> None:
        """Read what it draws until *condition* holds."""
        deadline = time.monotonic() + within
        while not condition():
            assert time.monotonic() < deadline, f"not so within {within} s:\n{self.screen}"
            self._read(0.1)

    def wait(self, *, within: float = 60.0) -> int:
        """Read to its end; return its exit code."""
        deadline = time.monotonic() + within
        while True:
            self._read(0.1)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.pid = 0
                self._read(0.0)
                return os.waitstatus_to_exitcode(status)
            assert time.monotonic() < deadline, f"still there after {within} s"

    def _read(self, seconds: float) -> None:
        while select.select([self._own], [], [], seconds)[0]:
            self.output += os.read(self._own, 65536).decode(errors="replace")
            seconds = 0.0
