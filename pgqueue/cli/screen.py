"""The terminal as a screen: entered, drawn on, asked for keys, and always left as it was."""

import os
import select
import shutil
import signal
import sys
import termios
import tty
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

import click

# The other screen, no cursor, and no wrapping of what is too wide; and back.
_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l"
_LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l"
_HOME, _END_OF_LINE, _END_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"


class Screen:
    """The alternate screen of the terminal at standard output, with the keys of standard input."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._sources: list[int] = []
        self._woken = -1

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._watch_size(stack)
            if sys.stdin is not None and sys.stdin.isatty():
                self._take_keys(stack, sys.stdin.fileno())
            stack.callback(self._write, _LEAVE)
            self._write(_ENTER)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        return shutil.get_terminal_size()

    def draw(self, lines: Sequence[str]) -> None:
        """Show *lines*, from the top; what was there before is gone."""
        _, height = self.size
        text = f"{_END_OF_LINE}\n".join(lines[:height])
        self._write(f"{_HOME}{text}{_END_OF_LINE}{_END_OF_SCREEN}")

    def key(self, seconds: float) -> str:
        """Wait for a key, at most so long; return it, or nothing: the time is up, or the screen has
        another size."""
        ready, _, _ = select.select(self._sources, [], [], seconds)
        if self._woken in ready:
            os.read(self._woken, 1024)
        keys = [source for source in ready if source != self._woken]
        if not keys:
            return ""
        pressed = os.read(keys[0], 32)
        if not pressed:  # the terminal is gone
            self._sources.remove(keys[0])
        return pressed.decode(errors="replace")

    def _watch_size(self, stack: ExitStack) -> None:
        """A change of size wakes whoever waits for a key."""
        self._woken, waker = os.pipe()
        for end in (self._woken, waker):
            os.set_blocking(end, False)
            stack.callback(os.close, end)
        before = signal.signal(signal.SIGWINCH, lambda number, frame: None)
        stack.callback(signal.signal, signal.SIGWINCH, before)
        stack.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(waker))
        self._sources = [self._woken]

    def _take_keys(self, stack: ExitStack, terminal: int) -> None:
        """One by one, and unseen. Ctrl-C still interrupts; Ctrl-Z, which would leave the shell with
        our screen, does nothing."""
        stack.callback(termios.tcsetattr, terminal, termios.TCSADRAIN, termios.tcgetattr(terminal))
        tty.setcbreak(terminal)
        attributes = termios.tcgetattr(terminal)
        attributes[6][termios.VSUSP] = os.fpathconf(terminal, "PC_VDISABLE").to_bytes(1, "big")
        termios.tcsetattr(terminal, termios.TCSADRAIN, attributes)
        self._sources.append(terminal)

    def _write(self, text: str) -> None:
        click.echo(text, nl=False, color=True)
        sys.stdout.flush()
