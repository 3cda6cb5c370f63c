"""``sync``: what the code says of its tasks, written down for those who enqueue by SQL."""

import click

from pgqueue.cli.database import perform
from pgqueue.cli.output import print_json
from pgqueue.cli.params import json_option
from pgqueue.storage.upkeep import sync_tasks
from pgqueue.worker.loading import load_tasks


@click.command(
    epilog="""
\b
Example, as a step of a deployment:
  pgqueue migrate && pgqueue sync myapp.jobs:tasks
"""
)
@click.argument("tasks_path", metavar="MODULE:TASKS")
@json_option
def sync(tasks_path: str, as_json: bool) -> None:
    """Write the options of all tasks into the database.

    A worker does so when it starts; this does it without one, so that jobs enqueued by SQL or by
    name get their task's queue, priority and limits from the first.
    """
    tasks = load_tasks(tasks_path)
    names = sorted(task.name for task in tasks)
    perform(sync_tasks((task.defaults for task in tasks), tasks.targets))
    if as_json:
        print_json({"tasks": names})
    else:
        click.echo(f"{len(names)} tasks are known to the database: {', '.join(names) or 'none'}")
