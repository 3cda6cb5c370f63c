"""``alerts rules``, ``set`` and ``unset``: when to alert, for all queues or for one."""

from datetime import timedelta
from typing import Any

import click

from pgqueue.cli.database import perform
from pgqueue.cli.human import exactly, number
from pgqueue.cli.output import Column, print_json, print_table
from pgqueue.cli.params import (
    Duration,
    Name,
    actor_option,
    json_option,
    reason_option,
)
from pgqueue.storage.alert_rules import SETTINGS, Rule, list_rules, set_alert

_COLUMNS = (
    Column("ALERT"),
    Column("QUEUE", elastic=True),
    Column("AT", right=True),
    Column("WITHIN", right=True),
    Column("SAMPLES", right=True),
    Column("HOLD", right=True),
    Column("SEVERITY"),
    Column("ON"),
)

_alert = click.argument("alert", metavar="ALERT", type=Name(100))


@click.command(
    epilog="""
\b
Example:
  pgqueue alerts rules
"""
)
@json_option
def rules(as_json: bool) -> None:
    """Show when there is an alert; for a single queue, what differs from all.

    AT is what is counted: jobs (backlog, dead), a share of 1 (failure_rate), seconds (delay,
    no_worker, unserved_task, schedule_late, horizon_held), workers (listener_down). Looked at
    WITHIN so long, with SAMPLES at least; it fires after it has HELD.
    """
    found = perform(list_rules())
    if as_json:
        print_json({"rules": found})
    else:
        print_table(_COLUMNS, [_row(rule) for rule in found])


@click.command(
    name="set",
    epilog="""
\b
Examples:
  pgqueue alerts set backlog --queue import --threshold 50000 --hold-for 5min
  pgqueue alerts set no_worker --queue reports --off --reason "only at night"
  pgqueue alerts set failure_rate --threshold 0.02
""",
)
@_alert
@click.option("--queue", "-q", type=Name(100), help="Of this queue; otherwise of all others.")
@click.option("--threshold", type=click.FloatRange(0, 1e9), metavar="N", help="From this on.")
@click.option("--look-back", type=Duration(), metavar="DURATION", help="How much time is judged.")
@click.option("--min-samples", type=click.IntRange(1), metavar="N", help="Not with fewer than so.")
@click.option("--hold-for", type=Duration(), metavar="DURATION", help="Fire after so long.")
@click.option("--severity", type=click.Choice(["warning", "critical"]))
@click.option("--on/--off", "enabled", default=None, help="Alert, or do not.")
@actor_option
@reason_option
@json_option
def set_(
    alert: str,
    queue: str | None,
    actor: str,
    reason: str | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Change when there is an alert. What is not named stays as it is."""
    settings = {name: _stored(value) for name, value in given.items() if value is not None}
    if not settings:
        raise click.UsageError("nothing to set; see --help")
    perform(set_alert(alert, settings, queue=queue or "", actor=actor, reason=reason))
    if as_json:
        print_json({"alert": alert, "queue": queue, "set": settings})
    else:
        click.echo(f"{alert} of {queue or 'all queues'}: set {', '.join(settings)}")


@click.command(
    epilog="""
\b
Example:
  pgqueue alerts unset backlog --queue import
"""
)
@_alert
@click.option("--queue", "-q", type=Name(100), required=True, help="Of this queue.")
@actor_option
@reason_option
@json_option
def unset(alert: str, queue: str, actor: str, reason: str | None, as_json: bool) -> None:
    """Let an alert be for one queue again as it is for all."""
    perform(set_alert(alert, dict.fromkeys(SETTINGS), queue=queue, actor=actor, reason=reason))
    if as_json:
        print_json({"alert": alert, "queue": queue, "unset": SETTINGS})
    else:
        click.echo(f"{alert} of {queue}: as for all queues")


def _stored(value: Any) -> Any:
    return f"{value.total_seconds()} seconds" if isinstance(value, timedelta) else value


def _row(rule: Rule) -> list[str]:
    return [
        rule.alert,
        rule.queue,
        "" if rule.threshold is None else f"{rule.threshold:g}",
        "" if rule.look_back is None else exactly(rule.look_back),
        "" if rule.min_samples is None else number(rule.min_samples),
        "" if rule.hold_for is None else exactly(rule.hold_for),
        rule.severity or "",
        {None: "", True: "yes", False: "no"}[rule.enabled],
    ]
