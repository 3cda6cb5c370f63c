"""Verbs on the jobs that wait: ``jobs run-now``, ``reschedule``, ``reprioritise``, ``move``."""

from datetime import datetime, timedelta
from typing import Any

import click

from pgqueue.cli.filters import filter_of, waiting_filter
from pgqueue.cli.params import JOB_ID, Duration, Moment, Name, reason_option
from pgqueue.cli.steering import Manner, carry_out, manner_options
from pgqueue.storage import steering
from pgqueue.storage.steering import Change, Verb

_ids = click.argument("ids", metavar="[ID...]", type=JOB_ID, nargs=-1)


@click.command(
    name="run-now",
    epilog="""
\b
Examples:
  pgqueue jobs run-now 4711
  pgqueue jobs run-now --queue email --run-before 'in 1h' --rate 50/s
""",
)
@_ids
@waiting_filter
@manner_options
@reason_option
def run_now(ids: tuple[int, ...], **given: Any) -> None:
    """Let scheduled jobs run now: by ids, or all that fit.

    It shows first what it would do, and asks. Jobs that run, or are over, are left alone; so are
    those that were enqueued since it began. Killed in the middle, the same command goes on.
    Failures still count, unlike those of jobs that are retried.
    """
    wanted = filter_of(ids, given)
    carry_out(lambda now: Change(Verb.RUN_NOW), wanted, Manner(**given))


@click.command(
    epilog="""
\b
Examples:
  pgqueue jobs reschedule --task report --in 2h --reason "the disk is full"
  pgqueue jobs reschedule 4711 4712 --at 2026-12-24T18:00:00+01:00
""",
)
@_ids
@click.option(
    "--at", type=Moment(), metavar="TIME", help="At this time: 2026-12-24T18:00:00+01:00."
)
@click.option("--in", "delay", type=Duration(), metavar="DURATION", help="So long from now: 2h.")
@waiting_filter
@manner_options
@reason_option
def reschedule(
    ids: tuple[int, ...], at: datetime | None, delay: timedelta | None, **given: Any
) -> None:
    """Let jobs that wait run at another time: by ids, or all that fit.

    It shows first what it would do, and asks. Jobs that run, or are over, are left alone; so are
    those that were enqueued since it began. Killed in the middle, the same command goes on.
    """
    if (at is None) == (delay is None):
        raise click.UsageError("say when: either --at or --in")
    wanted = filter_of(ids, given)

    def change_at(now: datetime) -> Change:
        try:
            return steering.reschedule(at or now + (delay or timedelta(0)))
        except OverflowError:
            raise click.UsageError("--in: that is after the year 9999") from None

    carry_out(change_at, wanted, Manner(**given))


@click.command(
    epilog="""
\b
Example:
  pgqueue jobs reprioritise 10 --task send-invoice --older-than 1h
""",
)
@click.argument("new_priority", metavar="PRIORITY", type=click.IntRange(0, 32767))
@_ids
@waiting_filter
@manner_options
@reason_option
def reprioritise(new_priority: int, ids: tuple[int, ...], **given: Any) -> None:
    """Give jobs that wait another priority, 0 to 32767: by ids, or all that fit.

    Lower numbers come first. It shows first what it would do, and asks. Jobs that run, or are
    over, are left alone; so are those that were enqueued since it began. Killed in the middle, the
    same command goes on.
    """
    wanted = filter_of(ids, given)
    carry_out(lambda now: steering.reprioritise(new_priority), wanted, Manner(**given))


@click.command(
    epilog="""
\b
Example:
  pgqueue jobs move --to bulk -q email --task newsletter --reason "too many"
""",
)
@_ids
@click.option("--to", "target", type=Name(100), metavar="QUEUE", required=True, help="Which queue.")
@waiting_filter
@manner_options
@reason_option
def move(ids: tuple[int, ...], target: str, **given: Any) -> None:
    """Put jobs that wait into another queue: by ids, or all that fit.

    It shows first what it would do, and asks. Jobs that run, or are over, are left alone; so are
    those that were enqueued since it began. Killed in the middle, the same command goes on.
    """
    wanted = filter_of(ids, given)
    carry_out(lambda now: steering.move(target), wanted, Manner(**given))
