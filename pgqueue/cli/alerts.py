"""``alerts``: what is wrong, for people and for checks that read exit codes."""

import click

from pgqueue.cli.database import database
from pgqueue.cli.human import ago
from pgqueue.cli.output import Column, print_json, print_table
from pgqueue.cli.params import json_option
from pgqueue.storage.drivers import run
from pgqueue.storage.rollups import Alert, list_alerts

WARNING = 1
CRITICAL = 2

_COLOURS = {"firing": "red", "pending": "yellow", "resolved": "green"}
_COLUMNS = (
    Column("STATE", colour=_COLOURS.get),
    Column("SEVERITY"),
    Column("ALERT"),
    Column("QUEUE", elastic=True),
    Column("SINCE"),
    Column("", elastic=True),
)


@click.group(
    invoke_without_command=True,
    epilog="""
\b
Exit codes, as monitoring plug-ins have them: 0 nothing fires, 1 a warning
fires, 2 something critical fires, 3 it could not be found out.
\b
Examples:
  pgqueue alerts
  pgqueue alerts --all --json
  pgqueue alerts set backlog --queue import --threshold 50000
""",
)
@click.option("--all", "show_all", is_flag=True, help="Show what is all right too.")
@json_option
@click.pass_context
def alerts(ctx: click.Context, show_all: bool, as_json: bool) -> None:
    """Show what is wrong: backlog, failures, delay, deaths, missing workers."""
    if ctx.invoked_subcommand is not None:
        return
    with database() as connection:
        found = run(connection, list_alerts())
    shown = [alert for alert in found if show_all or alert.state != "ok"]
    if as_json:
        print_json({"alerts": shown})
    elif shown:
        print_table(_COLUMNS, [_row(alert) for alert in shown])
    else:
        click.echo("all is well")
    raise click.exceptions.Exit(_exit_code(found))


def _row(alert: Alert) -> list[str]:
    since = "" if alert.state == "ok" else ago(alert.since, alert.now)
    return [
        alert.state,
        alert.severity or "",
        alert.alert,
        alert.queue,
        since,
        alert.text or "",
    ]


def _exit_code(found: list[Alert]) -> int:
    firing = {alert.severity for alert in found if alert.state == "firing"}
    if "critical" in firing:
        return CRITICAL
    return WARNING if firing else 0
