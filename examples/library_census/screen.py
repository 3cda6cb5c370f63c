"""What the demo prints: headings, a progress line, a table."""

import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

WIDTH = 96
BAR = 24
REDRAW = 0.1  # seconds
LIVELY = 4.0  # seconds; the speed in a progress line is that of so long


def say(text: str = "") -> None:
    print(text, flush=True)


@contextmanager
def step(what: str) -> Iterator[None]:
    """Say what is being done, and when it is done, how long it took."""
    print(f"{what} ...", end=" ", flush=True)
    started = time.monotonic()
    try:
        yield
    except BaseException:
        say()
        raise
    say(f"{time.monotonic() - started:.1f} s")


class Progress:
    """How far the work is: one line kept up to date on a terminal, else a line each tenth."""

    def __init__(self, total: int, unit: str) -> None:
        self._total = total
        self._unit = unit
        self._live = is_terminal()
        self._seen: list[tuple[float, int]] = []
        self._printed_at = float("-inf")
        self._next_tenth = 1

    def show(self, done: int, note: str = "") -> None:
        """Say that *done* of the total are done."""
        now = time.monotonic()
        finished = done == self._total
        if self._live and now < self._printed_at + REDRAW and not finished:
            return
        self._printed_at = now
        self._seen = [(at, n) for at, n in self._seen if at > now - LIVELY] + [(now, done)]
        if self._live:
            print(f"\r{self._line(done, note)}\x1b[K", end="\n" if finished else "", flush=True)
        elif done * 10 >= self._next_tenth * self._total:
            self._next_tenth = done * 10 // self._total + 1
            say(self._line(done, note))

    def interrupt(self, text: str) -> None:
        """Print a line of its own; the progress goes on below it."""
        say(f"\r{text}\x1b[K" if self._live else text)

    def _line(self, done: int, note: str) -> str:
        filled = BAR * done // self._total
        parts = [f"  [{'#' * filled:.<{BAR}}] {done:,} of {self._total:,} {self._unit}"]
        speed = self._speed()
        if speed:
            parts.append(f"{speed:,.0f} {self._unit}/s")
            if done < self._total:
                parts.append(f"{(self._total - done) / speed:.0f} s left")
        line = "   ".join([*parts, note]).rstrip()
        return line[: shutil.get_terminal_size().columns - 1] if self._live else line

    def _speed(self) -> float:
        (first, before), (last, now) = self._seen[0], self._seen[-1]
        return (now - before) / (last - first) if last > first else 0.0


def is_terminal() -> bool:
    """Whether a line can be overwritten."""
    return sys.stdout is not None and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows: the first column to the left, the others to the right."""
    for row in [head, *rows]:
        say(f"  {row[0]:<22}" + "".join(f"{cell:>11}" for cell in row[1:]))


def cut(text: str) -> str:
    """The text, or its beginning if it is too long for a line."""
    return text if len(text) <= WIDTH else text[: WIDTH - 4] + " ..."


def duration(seconds: float) -> str:
    """1.2 s, 34 ms, 0.5 ms."""
    if seconds >= 1:
        return f"{seconds:.1f} s"
    milliseconds = seconds * 1000
    return f"{milliseconds:.0f} ms" if milliseconds >= 10 else f"{milliseconds:.1f} ms"
