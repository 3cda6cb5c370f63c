"""``queues set``: what the jobs of a queue get that nobody says otherwise."""

import json
from datetime import timedelta

import click

from pgqueue.cli.database import perform
from pgqueue.cli.output import print_json
from pgqueue.cli.params import (
    Duration,
    Name,
    OrDefault,
    actor_option,
    json_option,
    reason_option,
)
from pgqueue.storage import verbs


@click.command(
    name="set",
    epilog="""
\b
Examples:
  pgqueue queues set email --keep 3d --keep-dead 90d
  pgqueue queues set reports --timeout none --max-attempts 2 --keep default
\b
The word default takes a setting back. What is not named stays as it is.
""",
)
@click.argument("name", type=Name(100))
@click.option(
    "--priority", type=OrDefault(click.IntRange(0, 32767)), metavar="N", help="Smaller is sooner."
)
@click.option(
    "--max-attempts",
    type=OrDefault(click.IntRange(1, 1000)),
    metavar="N",
    help="How often a job may run in all.",
)
@click.option(
    "--max-crashes",
    type=OrDefault(click.IntRange(1, 1000)),
    metavar="N",
    help="After so many lost workers a job is dead.",
)
@click.option(
    "--timeout",
    type=OrDefault(Duration(endless=True)),
    metavar="TIME",
    help="How long an attempt may take, or none.",
)
@click.option(
    "--keep",
    type=OrDefault(Duration()),
    metavar="TIME",
    help="How long finished jobs stay in history; 0: not at all.",
)
@click.option(
    "--keep-cancelled",
    type=OrDefault(Duration()),
    metavar="TIME",
    help="How long cancelled and discarded ones stay.",
)
@click.option(
    "--keep-dead",
    type=OrDefault(Duration()),
    metavar="TIME",
    help="How long dead ones wait for a person; default: for ever.",
)
@actor_option
@reason_option
@json_option
def set_(
    name: str,
    actor: str,
    reason: str | None,
    as_json: bool,
    **given: int | str | timedelta | None,
) -> None:
    """Set what jobs of the queue NAME get that neither their enqueue nor their task says.

    It holds for jobs that are enqueued from now on.
    """
    settings = {key: _setting(value) for key, value in given.items() if value is not None}
    if not settings:
        raise click.UsageError("nothing to set; name a setting, such as --keep 3d")
    perform(verbs.set_queue(name, json.dumps(settings), actor=actor, reason=reason))
    if as_json:
        print_json({"queue": name, "set": settings})
    else:
        click.echo(f"queue {name} is set")


def _setting(value: int | str | timedelta) -> int | str | None:
    """A setting as the database reads it; null is the default."""
    if isinstance(value, timedelta):
        return f"{value.total_seconds()} s"
    return None if value == OrDefault.DEFAULT else value
