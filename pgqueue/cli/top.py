"""``top``: what goes on, live in the terminal."""

import time
from contextlib import suppress
from datetime import timedelta
from typing import Any

import click
import psycopg
from psycopg import Connection

from pgqueue.cli.database import find_dsn, where
from pgqueue.cli.failures import Misused
from pgqueue.cli.frame import ORDERS, frame
from pgqueue.cli.layout import Paint, cut
from pgqueue.cli.output import print_json, shows_colours, terminal_width
from pgqueue.cli.params import Duration, json_option
from pgqueue.cli.screen import Screen
from pgqueue.embedded import exit_on_sigterm
from pgqueue.storage.advice import explain
from pgqueue.storage.connect import connect
from pgqueue.storage.drivers import run
from pgqueue.storage.looking import looking
from pgqueue.storage.schema import require_schema
from pgqueue.storage.watching import Watch, watch

PATIENCE = timedelta(seconds=5)
"""A look that takes longer is given up."""
COST = 10
"""A look may take this part of the time between two."""
SLOWEST = 60.0


@click.command(
    epilog="""
\b
Keys: q quits, p pauses, s sorts the queues by something else.
\b
Examples:
  pgqueue top
  pgqueue top --interval 10s
  pgqueue top --once
  pgqueue top --once --json | jq '.queues[] | {name, available, oldest}'
\b
READY jobs can run now, LATER ones are scheduled or to be tried again; IN/m
and OUT/m are attempts begun and ended a minute, P95 the wait that 95 of 100
were below, FAIL the share that failed, all of the last five minutes. BUSY:
jobs a worker holds, of its slots. FAILING: within the last hour.
\b
The role pgqueue_monitor is enough for all but what the dead died of, which
pgqueue_operator may see, and whose snapshot is old (pg_monitor).
"""
)
@click.option(
    "--interval",
    type=Duration(),
    default="2s",
    show_default=True,
    help="How often to look; less often where a look costs more than a tenth of it.",
)
@click.option("--once", is_flag=True, help="Print one frame, and be done.")
@json_option
def top(interval: timedelta, once: bool, as_json: bool) -> None:
    """Watch queues, workers, running jobs and failures."""
    source = Source(find_dsn())
    try:
        first = source.look()
        if as_json:
            print_json(first)
        elif once:
            for line in frame(first, width=terminal_width(), paint=_painter()):
                click.echo(line)
        elif terminal_width() is None:
            raise Misused("there is no terminal to draw on; ask for one frame: pgqueue top --once")
        else:
            exit_on_sigterm()
            with suppress(KeyboardInterrupt), Screen() as screen:
                Loop(source, screen, first, max(interval.total_seconds(), 0.1)).run()
    finally:
        source.close()


class Source:
    """Where the numbers come from: a connection, and after a loss the next one."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection: Connection[Any] | None = None
        self.took = 0.0
        """The seconds that the last look took."""

    def look(self) -> Watch:
        """Look once; raise :class:`psycopg.OperationalError` while there is no server."""
        if self._connection is None or self._connection.closed:
            self._connection = connect(self._dsn, "top")
            with looking(self._connection, PATIENCE):
                run(self._connection, require_schema())
        started = time.monotonic()
        try:
            with looking(self._connection, PATIENCE):
                return run(self._connection, watch())
        finally:
            self.took = time.monotonic() - started

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


class Loop:
    """Looks, draws, and heeds keys, until it is told to quit."""

    def __init__(self, source: Source, screen: Screen, first: Watch, interval: float) -> None:
        self._source = source
        self._screen = screen
        self._latest = first
        self._interval = interval
        self._order = next(iter(ORDERS))
        self._is_paused = False
        self._trouble = ""
        self._paint = _painter()

    def run(self) -> None:
        due = time.monotonic() + self._pause
        while True:
            self._draw()
            key = self._screen.key(max(0.0, due - time.monotonic()))
            if key in ("q", "Q", "\x03", "\x1b"):
                return
            if key in ("p", " "):
                self._is_paused = not self._is_paused
            elif key == "s":
                orders = list(ORDERS)
                self._order = orders[(orders.index(self._order) + 1) % len(orders)]
            if time.monotonic() >= due:
                if not self._is_paused:
                    self._look()
                due = time.monotonic() + self._pause

    @property
    def _pause(self) -> float:
        return pause(self._interval, self._source.took)

    def _look(self) -> None:
        try:
            self._latest = self._source.look()
            self._trouble = ""
        except psycopg.errors.QueryCanceled:
            self._trouble = f"no answer within {PATIENCE.total_seconds():g} s, trying again"
        except psycopg.OperationalError as error:
            self._trouble = f"connection lost, trying again: {explain(error, where())}"

    def _draw(self) -> None:
        width, height = self._screen.size
        lines = frame(
            self._latest, width=width, height=height - 1, order=self._order, paint=self._paint
        )
        lines += [""] * (height - 1 - len(lines))
        self._screen.draw([*lines, self._foot(width)])

    def _foot(self, width: int) -> str:
        if self._trouble:
            return self._paint(cut(self._trouble, width), "red")
        pace = "paused" if self._is_paused else f"every {self._pause:.3g} s"
        return cut(f"q quit  p pause  s sort (by {self._order})  {pace}", width)


def pause(interval: float, took: float) -> float:
    """The seconds until the next look: longer when the last one was dear.

    >>> pause(2, 0.1), pause(2, 0.5), pause(2, 30)
    (2, 5.0, 60.0)
    """
    return max(interval, min(SLOWEST, took * COST))


def _painter() -> Paint:
    if not shows_colours():
        return lambda text, colour: text

    def paint(text: str, colour: str | None) -> str:
        if colour == "bold":
            return click.style(text, bold=True)
        return click.style(text, fg=colour) if colour else text

    return paint
