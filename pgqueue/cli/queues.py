"""``queues``: pause and resume them, and see how they are set. Setting is in ``settings.py``."""

import click

from pgqueue.cli.database import perform
from pgqueue.cli.human import ago, exactly, kept
from pgqueue.cli.output import Column, print_json, print_table
from pgqueue.cli.params import Name, actor_option, json_option, reason_option
from pgqueue.storage import verbs
from pgqueue.storage.inspection import QueueStatus, queue_status

_COLUMNS = (
    Column("QUEUE", elastic=True),
    Column("STATE", elastic=True),
    Column("SLOTS", right=True),
    Column("PRIORITY", right=True),
    Column("ATTEMPTS", right=True),
    Column("TIMEOUT", right=True),
    Column("KEEP", elastic=True),
)


@click.group()
def queues() -> None:
    """Pause, resume and set queues, and see how they are set."""


@queues.command(
    name="list",
    epilog="""
\b
Example:
  pgqueue queues list
\b
A setting that is not shown is the default: priority 100, 5 attempts,
a timeout of 60 s, kept for 7 days, dead jobs for ever. A task's own
setting wins.
""",
)
@json_option
def list_queues(as_json: bool) -> None:
    """Show every queue that has jobs, tasks, workers or settings."""
    found = perform(queue_status())
    if as_json:
        print_json({"queues": [_settings(queue) for queue in found]})
    elif not found:
        click.echo("no queues yet: no job, no task, no worker")
    else:
        print_table(_COLUMNS, [_row(queue) for queue in found])


@queues.command(
    epilog="""
\b
Example:
  pgqueue queues pause email --reason "the mail server is down"
"""
)
@click.argument("name", type=Name(100))
@actor_option
@reason_option
@json_option
def pause(name: str, actor: str, reason: str | None, as_json: bool) -> None:
    """Claim no more jobs of the queue NAME; those that run, run on."""
    perform(verbs.pause(name, actor=actor, reason=reason))
    if as_json:
        print_json({"queue": name, "paused": True})
    else:
        click.echo(f"queue {name} is paused")


@queues.command(
    epilog="""
\b
Example:
  pgqueue queues resume email
"""
)
@click.argument("name", type=Name(100))
@actor_option
@reason_option
@json_option
def resume(name: str, actor: str, reason: str | None, as_json: bool) -> None:
    """Claim jobs of the queue NAME again."""
    perform(verbs.resume(name, actor=actor, reason=reason))
    if as_json:
        print_json({"queue": name, "paused": False})
    else:
        click.echo(f"queue {name} is open")


def _settings(queue: QueueStatus) -> dict[str, object]:
    return {
        "name": queue.name,
        "paused_at": queue.paused_at,
        "slots": queue.slots,
        "priority": queue.priority,
        "max_attempts": queue.max_attempts,
        "max_crashes": queue.max_crashes,
        "timeout_ms": queue.timeout_ms,
        "keep": queue.keep,
        "keep_cancelled": queue.keep_cancelled,
        "keep_dead": queue.keep_dead,
    }


def _row(queue: QueueStatus) -> list[str]:
    return [
        queue.name,
        f"paused {ago(queue.paused_at, queue.now)}" if queue.paused_at else "open",
        str(queue.slots),
        _or_blank(queue.priority),
        _or_blank(queue.max_attempts),
        _timeout(queue.timeout_ms),
        kept(queue.keep, queue.keep_cancelled, queue.keep_dead),
    ]


def _or_blank(value: int | None) -> str:
    return "" if value is None else str(value)


def _timeout(milliseconds: int | None) -> str:
    if milliseconds is None:
        return ""
    return "none" if milliseconds < 0 else exactly(milliseconds / 1000)
