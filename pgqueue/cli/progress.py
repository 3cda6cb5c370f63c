"""How far work is, on standard error: a bar on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from pgqueue.cli.human import number
from pgqueue.cli.output import tell

LINE_EVERY = 5.0
"""Seconds between lines."""


@contextmanager
def progress(label: str, expected: int) -> Iterator[Callable[[int], None]]:
    """Show how far it is: call what this gives with how much is done."""
    shown, told = 0, time.monotonic()
    if sys.stderr.isatty():
        with click.progressbar(length=expected, label=label, file=sys.stderr) as bar:

            def draw(done: int) -> None:
                nonlocal shown
                bar.update(done - shown)
                shown = done

            yield draw
        return

    def say(done: int) -> None:
        nonlocal told
        if time.monotonic() - told >= LINE_EVERY:
            tell(f"{number(done)} of {number(expected)} {label}")
            told = time.monotonic()

    yield say
