"""``sync``: what the code says of its tasks, written down for those who enqueue by SQL."""

import click

from pgqueue.cli.database import perform
from pgqueue.cli.output import print_json, visible
from pgqueue.cli.params import actor_option, json_option
from pgqueue.storage import schedules
from pgqueue.storage.upkeep import sync_tasks
from pgqueue.worker.loading import load_tasks

_ANSWERS = {
    "created": "made",
    "changed": "changed",
    "unchanged": "as declared",
    "taken": "left alone: it was not made by code",
    "orphaned": "no longer declared; --prune removes it",
    "pruned": "removed, for it is no longer declared",
}


@click.command(
    epilog="""
\b
Example, as a step of a deployment:
  pgqueue migrate && pgqueue sync myapp.jobs:tasks --prune
"""
)
@click.argument("tasks_path", metavar="MODULE:TASKS")
@click.option(
    "--prune",
    is_flag=True,
    help="Remove declared schedules that these tasks do not declare; those of other applications"
    " in this database as well.",
)
@actor_option
@json_option
def sync(tasks_path: str, prune: bool, actor: str, as_json: bool) -> None:
    """Write the options of all tasks, and their schedules, into the database.

    A worker does so when it starts; this does it without one, so that jobs enqueued by SQL or by
    name get their task's queue, priority and limits from the first. It shows what differed.
    """
    tasks = load_tasks(tasks_path)
    names = sorted(task.name for task in tasks)
    perform(sync_tasks((task.defaults for task in tasks), tasks.targets))
    saved = perform(schedules.sync(tasks.schedules.values(), prune=prune, actor=actor))
    if as_json:
        print_json({"tasks": names, "schedules": saved})
        return
    click.echo(f"{len(names)} tasks are known to the database: {', '.join(names) or 'none'}")
    for each in saved:
        click.echo(f"schedule {visible(each.name)}: {_ANSWERS[each.answer]}")
        for column, (old, new) in sorted(each.changes.items()):
            click.echo(f"  {column}: {visible(str(old))} -> {visible(str(new))}")
