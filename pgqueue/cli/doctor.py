"""``doctor``: what is not broken yet, and what to do about it."""

import click

from pgqueue.cli.database import perform
from pgqueue.cli.output import print_json, visible
from pgqueue.cli.params import json_option
from pgqueue.storage.checkup import CHECKS, examine


@click.command(
    epilog="""
\b
Examples:
  pgqueue doctor
  pgqueue doctor --json | jq -r '.findings[].text'
\b
Exits with 1 if there is something to do, with 0 if there is not.
Looks at a sample of recent history, never at all of it.
"""
)
@json_option
def doctor(as_json: bool) -> None:
    """Look for what should be mended before it hurts, such as tasks that take too long."""
    findings = perform(examine())
    if as_json:
        print_json({"findings": findings})
    else:
        for finding in findings:
            click.echo(visible(finding.text))
        if not findings:
            click.echo(f"nothing to do ({len(CHECKS)} checks)")
    if findings:
        raise click.exceptions.Exit(1)
