"""``migrate``, ``downgrade``, ``adopt``: the schema, and whose jobs are in it."""

import sys

import click

from pgqueue import migrate as migrations
from pgqueue.cli.database import find_dsn, perform
from pgqueue.cli.failures import Misused, Unready
from pgqueue.cli.output import print_json
from pgqueue.cli.params import Name, actor_option, json_option
from pgqueue.storage import verbs


@click.command(
    epilog="""
\b
Examples:
  pgqueue migrate                  bring the schema up to date
  pgqueue migrate --check          in a deployment: fail if it is not
  pgqueue migrate --sql > up.sql   for a DBA to read and to run
"""
)
@click.option(
    "--to",
    "revision",
    type=Name(200),
    default="head",
    metavar="REV",
    help="The revision to stop at.",
)
@click.option("--sql", is_flag=True, help="Print the SQL instead; needs no database.")
@click.option("--check", is_flag=True, help="Change nothing; exit with 3 unless up to date.")
@json_option
def migrate(revision: str, sql: bool, check: bool, as_json: bool) -> None:
    """Install the pgqueue schema, or bring it up to date.

    Any number of processes may do so at once, beside running workers: one of them does the work,
    in one transaction, the others wait for it.
    """
    if sql and (check or as_json):
        raise click.UsageError("--sql prints SQL; it goes with neither --check nor --json")
    if sql:
        click.echo(migrations.offline_sql(revision), nl=False)
    elif check:
        _check(as_json)
    else:
        reached = migrations.upgrade(find_dsn(), revision)
        if as_json:
            print_json({"revision": reached})
        else:
            click.echo(f"the pgqueue schema is at {reached}")


@click.command(
    epilog="""
\b
Examples:
  pgqueue downgrade                       one revision back, at last to none
  pgqueue downgrade --to base --yes       remove the schema and every job
"""
)
@click.option(
    "--to",
    "revision",
    type=Name(200),
    default="-1",
    show_default=True,
    metavar="REV",
    help="The revision to go back to; -1 is one back, base is nothing at all.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def downgrade(revision: str, yes: bool, as_json: bool) -> None:
    """Take the schema back. What only newer revisions can hold is lost; base drops every job."""
    dsn = find_dsn()
    if not yes:
        left = migrations.downgrade_target(dsn, revision)
        lost = "data" if left else "the pgqueue schema and every job in it"
        if not sys.stdin.isatty():
            raise Misused(f"this removes {lost}; if that is meant, add --yes")
        click.confirm(f"This removes {lost}. Go on?", abort=True, err=True)
    reached = migrations.downgrade(dsn, revision)
    if as_json:
        print_json({"revision": reached})
    else:
        click.echo(f"the pgqueue schema is {f'at {reached}' if reached else 'gone'}")


@click.command(
    epilog="""
\b
Example:
  pgqueue adopt     after a restore, a copy, or a major upgrade
"""
)
@actor_option
@json_option
def adopt(actor: str, as_json: bool) -> None:
    """Say that the jobs in this database are to run here.

    Workers refuse a database that was copied or restored from another one, because its jobs may
    still run there. Run this when they do not.

    A copy of the data directory (a base backup, a disk snapshot) cannot be told from its original,
    as a standby must not be: where one is made for staging, DELETE FROM pgqueue.home in it before
    a worker starts there; then it has to be adopted as well.
    """
    perform(verbs.adopt(actor=actor))
    if as_json:
        print_json({"adopted": True})
    else:
        click.echo("the jobs in this database belong here now; workers will run them")


def _check(as_json: bool) -> None:
    status = migrations.check(find_dsn())
    if as_json:
        print_json(status)
    else:
        click.echo(str(status), err=status.state != migrations.SchemaState.CURRENT)
    if status.state != migrations.SchemaState.CURRENT:
        raise click.exceptions.Exit(Unready.exit_code)
