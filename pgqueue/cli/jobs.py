"""``jobs list`` and ``jobs show``. The verbs are in ``verbs.py``."""

import shlex

import click

from pgqueue.cli.database import perform
from pgqueue.cli.details import details_of, print_details
from pgqueue.cli.output import print_json, print_table, tell
from pgqueue.cli.params import JOB_ID, Name, json_option
from pgqueue.cli.rows import COLUMNS, row_of
from pgqueue.job import State
from pgqueue.storage.inspection import show_job
from pgqueue.storage.listing import Page, list_jobs


@click.group()
def jobs() -> None:
    """List jobs, look at one, and steer them: one by one, or all that a filter fits."""


@jobs.command(
    name="list",
    epilog="""
\b
Examples:
  pgqueue jobs list
  pgqueue jobs list --state dead --task send-welcome
  pgqueue jobs list --state dead --ids | xargs -r pgqueue jobs retry
""",
)
@click.option(
    "--state",
    type=click.Choice([str(state) for state in State]),
    metavar="STATE",
    help=f"Only {', '.join(list(State)[:-1])} or {list(State)[-1]} ones.",
)
@click.option("--queue", "-q", type=Name(100), help="Only of this queue.")
@click.option("--task", type=Name(200), help="Only of this task.")
@click.option("--batch", "batch_id", type=JOB_ID, metavar="ID", help="Only of this batch.")
@click.option("--limit", type=click.IntRange(1, 10_000), metavar="N", default=50, show_default=True)
@click.option("--before", metavar="WHERE", help="Go on where a page ended, or before this job id.")
@click.option("--ids", is_flag=True, help="Print nothing but ids.")
@json_option
def list_(
    state: str | None,
    queue: str | None,
    task: str | None,
    batch_id: int | None,
    limit: int,
    before: str | None,
    ids: bool,
    as_json: bool,
) -> None:
    """List jobs, newest first; of the dead, the latest death first."""
    page = perform(
        list_jobs(
            state=state, queue=queue, task=task, batch_id=batch_id, limit=limit, before=before
        )
    )
    if as_json:
        print_json({"jobs": page.jobs, "next": page.next})
        return
    if ids:
        for job in page.jobs:
            click.echo(job.id)
    elif page.jobs:
        print_table(COLUMNS, [row_of(job, page.now) for job in page.jobs])
    chosen = {
        "state": state,
        "queue": queue,
        "task": task,
        "batch": batch_id,
        "limit": None if limit == 50 else limit,
    }
    _tell_rest(page, chosen, ids)


@jobs.command(
    epilog="""
\b
Example:
  pgqueue jobs show 4711
"""
)
@click.argument("job_id", metavar="ID", type=JOB_ID)
@json_option
def show(job_id: int, as_json: bool) -> None:
    """Show all that is known about one job: its arguments, errors, attempts, and who did what."""
    job = perform(show_job(job_id))
    if as_json:
        print_json(details_of(job))
    else:
        print_details(job)


def _tell_rest(page: Page, chosen: dict[str, str | int | None], ids: bool) -> None:
    """Say how to go on, as a line that can be pasted."""
    words = ["pgqueue", "jobs", "list", *(["--ids"] if ids else [])]
    for name, value in chosen.items():
        words += [f"--{name}", str(value)] if value else []
    more = shlex.join([*words, "--before", str(page.next)])
    if page.next is None:
        if not page.jobs:
            tell("no such jobs")
    elif page.jobs:
        tell(f"more: {more}")
    else:
        tell(f"none among the {page.looked_at:,} newest; to look further: {more}")
