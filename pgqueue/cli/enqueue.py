"""``enqueue``: one job, by the name of its task."""

from datetime import datetime, timedelta
from typing import Any

import click

from pgqueue import client
from pgqueue.cli.database import database
from pgqueue.cli.output import embedded, print_json, tell
from pgqueue.cli.params import Duration, JsonObject, Moment, Name, json_option
from pgqueue.options import NewJob


@click.command(
    epilog="""
\b
Examples:
  pgqueue enqueue send-welcome --args '{"user_id": 123}'
  pgqueue enqueue report --args @report.json --queue reports --delay 1h30m
  pgqueue enqueue nightly --run-at 2026-12-24T18:00:00+01:00 --key nightly-24
  id=$(pgqueue enqueue import --args - < import.json)
"""
)
@click.argument("task", type=Name(200))
@click.option(
    "--args", type=JsonObject("args"), default="{}", help="Arguments: JSON, @FILE, or - for stdin."
)
@click.option("--queue", "-q", type=Name(100), help="Else the task's own, else default.")
@click.option("--priority", type=int, metavar="N", help="Smaller is sooner; 100 is usual.")
@click.option("--delay", type=Duration(), help="Start no earlier than in so long: 30s, 5min, 2h.")
@click.option("--run-at", type=Moment(), help="Start no earlier than then.")
@click.option("--expires", type=Duration(), help="Do not start later than in so long.")
@click.option("--max-attempts", type=int, metavar="N", help="How often it may run in all.")
@click.option("--max-crashes", type=int, metavar="N", help="After so many lost workers it is dead.")
@click.option(
    "--timeout", type=Duration(endless=True), help="How long an attempt may take, or none."
)
@click.option("--keep", type=Duration(), help="How long it stays in history when it is over.")
@click.option(
    "--key",
    type=Name(500),
    metavar="TEXT",
    help="Idempotency key: the same task and key are the same job.",
)
@click.option("--key-ttl", type=Duration(), help="How long the key lives.  [default: for ever]")
@click.option("--actor", type=Name(500), help="On whose behalf it runs.")
@click.option("--metadata", type=JsonObject("metadata"), help="Anything else to remember, as JSON.")
@click.option("--on-dead-task", metavar="TASK", help="Enqueue this task should the job die.")
@json_option
def enqueue(
    task: str,
    args: str,
    timeout: timedelta | str | None,
    metadata: str | None,
    as_json: bool,
    **given: str | int | timedelta | datetime | None,
) -> None:
    """Enqueue a job of TASK; print its id.

    What is not said the task decides, then the queue, then the defaults. The task need not be
    known here: the job waits for a worker that knows it.
    """
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if timeout is not None:
        options["timeout"] = None if timeout == "none" else timeout
    if metadata is not None:
        options["metadata"] = embedded(metadata)
    job = NewJob(task, args).options(**options)
    with database() as connection:
        result = client.enqueue(connection, job, on_conflict="raise")
    if as_json:
        print_json({"id": result.id, "duplicate": result.duplicate})
    else:
        click.echo(result.id)
        if result.duplicate:
            tell(f"job {result.id} had that key already; no new job was made")
