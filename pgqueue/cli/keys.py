"""``keys``: what payloads are encrypted with."""

import base64
import time

import click

from pgqueue.cli.database import database, perform
from pgqueue.cli.failures import Refused, Unready
from pgqueue.cli.output import Column, print_json, print_table, tell
from pgqueue.cli.params import json_option
from pgqueue.secrecy.keyring import KeyRing
from pgqueue.secrecy.sealing import Sealer
from pgqueue.storage import rewrapping
from pgqueue.storage.drivers import run
from pgqueue.worker.loading import load_tasks

_PASSES = 20
_PAUSE = 0.5

_COLUMNS = (
    Column("KEY", elastic=True),
    Column("LIVE", right=True),
    Column("HISTORY", right=True),
    Column("UNTIL"),
)


@click.group()
def keys() -> None:
    """Make keys, change them, and see what is encrypted under which."""


@keys.command(
    epilog="""
\b
Example:
  export PGQUEUE_KEYS="2026:$(pgqueue keys new)"
"""
)
@json_option
def new(as_json: bool) -> None:
    """Print a new key, as KeyRing.from_environment() reads it."""
    key = base64.b64encode(KeyRing.new_key()).decode("ascii")
    if as_json:
        print_json({"key": key})
    else:
        click.echo(key)


@keys.command(
    epilog="""
\b
Example, once every process has the new key, and it is current:
  pgqueue keys rotate myapp.jobs:tasks && pgqueue keys usage
"""
)
@click.argument("tasks_path", metavar="MODULE:TASKS")
@json_option
def rotate(tasks_path: str, as_json: bool) -> None:
    """Put what is encrypted under other keys under the current one, while workers run.

    That is all that waits, runs or is dead. History stays as it is, until it is forgotten:
    `pgqueue keys usage` says when the old key can go.
    """
    ring = load_tasks(tasks_path).keys
    if ring is None:
        raise Unready(f"the tasks at {tasks_path} have no keys: Tasks(keys=KeyRing(...))")
    sealer = Sealer(ring)
    rewrapped = 0
    with database() as connection:
        for n in range(_PASSES):
            if n:
                time.sleep(_PAUSE)
            done = rewrapping.rewrap_all(sealer, lambda operation: run(connection, operation))
            rewrapped += done.rewrapped
            if not done.busy:
                break
    if as_json:
        print_json(
            {
                "current": ring.current,
                "rewrapped": rewrapped,
                "busy": done.busy,
                "unknown": done.unknown,
            }
        )
    else:
        click.echo(f"{rewrapped} rows were put under key {ring.current}")
        for problem in done.unknown:
            tell(problem)
        if done.busy:
            tell(f"{done.busy} rows were being written each time; run it again")
    if done.busy or done.unknown:
        raise click.exceptions.Exit(Refused.exit_code)


@keys.command(
    epilog="""
\b
Example:
  pgqueue keys usage
"""
)
@json_option
def usage(as_json: bool) -> None:
    """Show how much is encrypted under which key: a key that is not listed can go.

    Reads all jobs and history, in small steps. Errors of attempts are not counted: they are
    forgotten after 30 days.
    """
    found = perform(rewrapping.usage())
    if as_json:
        print_json(
            {
                "keys": [
                    {**each._asdict(), "until": each.until and each.until.isoformat()}
                    for each in found
                ]
            }
        )
    elif found:
        rows = [
            [each.kid, str(each.live), str(each.history), str(each.until or "")] for each in found
        ]
        print_table(_COLUMNS, rows)
    else:
        tell("nothing is encrypted")
