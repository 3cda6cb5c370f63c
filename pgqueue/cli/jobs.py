"""``jobs list`` and ``jobs show``. The verbs are in ``verbs.py``."""

import shlex

import click

from pgqueue.cli.database import perform
from pgqueue.cli.details import details_of, print_details
from pgqueue.cli.human import ago
from pgqueue.cli.output import Column, print_json, print_table, tell
from pgqueue.cli.params import JOB_ID, Name, json_option
from pgqueue.job import Reason, State
from pgqueue.storage.inspection import show_job
from pgqueue.storage.listing import JobSummary, Page, list_jobs

_COLUMNS = (
    Column("ID", right=True),
    Column("STATE", colour={"dead": "red", "running": "green"}.get),
    Column("QUEUE", elastic=True),
    Column("TASK", elastic=True),
    Column("WHEN"),
    Column("RUN", right=True),
    Column("WHY", elastic=True),
)
_WAITING = (State.BLOCKED, State.SCHEDULED, State.AVAILABLE)


@click.group()
def jobs() -> None:
    """List jobs, look at one, retry, cancel, discard and edit them."""


@jobs.command(
    name="list",
    epilog="""
\b
Examples:
  pgqueue jobs list
  pgqueue jobs list --state dead --task send-welcome
  pgqueue jobs list --state dead --ids --limit 1000 | xargs -r pgqueue jobs retry
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
        print_table(_COLUMNS, [_row(job, page) for job in page.jobs])
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


def run_of(job: JobSummary) -> str:
    """Which run of how many: of a dead job the last one, else the one that is on or next."""
    over = job.state in (State.DEAD, State.DISCARDED)
    return f"{job.failures if over else job.failures + 1}/{job.max_attempts}"


def _row(job: JobSummary, page: Page) -> list[str]:
    return [
        str(job.id),
        job.state,
        job.queue,
        job.task,
        _when(job, page),
        run_of(job),
        _why(job),
    ]


def _why(job: JobSummary) -> str:
    # Attempts are exhausted by errors, and there is room for one thing only: the error.
    reason = None if job.reason == Reason.ATTEMPTS_EXHAUSTED else job.reason
    return ": ".join(part for part in (reason, job.error_type, job.error) if part)


def _when(job: JobSummary, page: Page) -> str:
    if job.state in _WAITING:
        return f"due {ago(job.run_at, page.now)}"
    if job.state == State.RUNNING and job.started_at is not None:
        return f"started {ago(job.started_at, page.now)}"
    if job.finished_at is not None:
        return f"{'died' if job.state == State.DEAD else 'ended'} {ago(job.finished_at, page.now)}"
    return ""


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
