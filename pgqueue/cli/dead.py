"""``dead``: what the dead letter died of, and what becomes of it."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import click

from pgqueue.cli.database import perform
from pgqueue.cli.details import details_of, print_details
from pgqueue.cli.failures import Refused
from pgqueue.cli.filters import dead_filter, filter_of
from pgqueue.cli.fitting import Fitting
from pgqueue.cli.human import ago, number
from pgqueue.cli.output import Column, print_json, print_table, tell, visible
from pgqueue.cli.params import JOB_ID, REASON, Name, When, json_option, reason_option
from pgqueue.cli.steering import Manner, carry_out, manner_options
from pgqueue.failure import code_of
from pgqueue.job import State
from pgqueue.job_filter import JobFilter
from pgqueue.storage.inspection import show_job
from pgqueue.storage.steering import Change, Verb
from pgqueue.storage.stories import DeadGroup, group_dead
from pgqueue.worker.loading import load_tasks

_COLUMNS = (
    Column("FINGERPRINT"),
    Column("JOBS", right=True),
    Column("FIRST"),
    Column("LAST"),
    Column("TASK", elastic=True),
    Column("ERROR", elastic=True),
)

_ids = click.argument("ids", metavar="[ID...]", type=JOB_ID, nargs=-1)


@click.group()
def dead() -> None:
    """The dead letter: what jobs died of, by cause; run them again, or give them up."""


@dead.command(
    epilog="""
\b
Examples:
  pgqueue dead groups
  pgqueue dead groups --queue email --since 2h
"""
)
@click.option("--queue", "-q", type=Name(100), help="Only of this queue.")
@click.option("--task", type=Name(200), help="Only of this task.")
@click.option("--since", type=When(), metavar="WHEN", help="Died since: 2h, or a time.")
@click.option("--limit", type=click.IntRange(1, 10_000), metavar="N", default=50, show_default=True)
@json_option
def groups(queue: str | None, task: str | None, since: Any, limit: int, as_json: bool) -> None:
    """Show what jobs died of: those of one cause are one line, the latest death first.

    Errors of one type, from one place, with one message but for its numbers and names have one
    fingerprint, here by its code. Looks at the 10,000 latest deaths.
    """
    found = perform(group_dead(queue=queue, task=task, since=since, limit=limit))
    if as_json:
        print_json({"groups": [{"code": _code(group), **group._asdict()} for group in found]})
    elif found:
        print_table(_COLUMNS, [_row(group) for group in found])
        if found[0].at_least:
            tell("of the 10,000 latest deaths; there are more")
    else:
        tell("nothing is dead")


@dead.command(
    epilog="""
\b
Example:
  pgqueue dead show 4711
"""
)
@click.argument("job_id", metavar="ID", type=JOB_ID)
@json_option
def show(job_id: int, as_json: bool) -> None:
    """Show what a dead job died of: its error, its last attempts, and its arguments.

    What looks like a credential is left out, and what is encrypted stays so.
    """
    job = perform(show_job(job_id))
    if job.state != State.DEAD:
        raise Refused(f"job {job_id} is not dead, it is {job.state}: pgqueue jobs show {job_id}")
    if as_json:
        print_json(details_of(job))
        return
    print_details(job)
    tell(f"run it again: pgqueue dead redrive {job_id}")
    if job.fingerprint is not None:
        tell(f"and all of its kind: pgqueue dead redrive --fingerprint {code_of(job.fingerprint)}")


@dead.command(
    epilog="""
\b
Examples:
  pgqueue dead redrive --fingerprint 6f1c0a3e --reason "the server is back"
  pgqueue dead redrive --task send-welcome --died-after 2h --rate 10/s
  pgqueue dead redrive --died-of undecodable --fit myapp.jobs:tasks
  pgqueue dead redrive --queue email --limit 5 --yes
"""
)
@_ids
@click.option(
    "--fit",
    "tasks_path",
    metavar="MODULE:TASKS",
    help="Only those whose arguments fit these tasks; the others would die again.",
)
@dead_filter
@manner_options
@reason_option
def redrive(ids: tuple[int, ...], tasks_path: str | None, **given: Any) -> None:
    """Run dead jobs again, with all their attempts: by ids, or all that fit.

    It shows first what it would do, and asks. What dies again meanwhile is left alone. Killed in
    the middle, the same command goes on.
    """
    fitting = None if tasks_path is None else Fitting(load_tasks(tasks_path))
    wanted = _of_dead(filter_of(ids, given))
    if wanted.died_before is None and not ids:
        wanted = replace(wanted, died_before=timedelta(0))
    try:
        carry_out(lambda now: Change(Verb.REDRIVE), wanted, Manner(**given), fitting)
    finally:
        for problem in fitting.problems if fitting else ():
            tell(visible(problem))


@dead.command(
    epilog="""
\b
Examples:
  pgqueue dead discard --task old-task --reason "nobody needs it"
  pgqueue dead discard --died-before 90d --reason "too late now" --dry-run
"""
)
@_ids
@dead_filter
@manner_options
@click.option(
    "--reason", type=REASON, metavar="TEXT", required=True, help="Why; kept in the audit."
)
def discard(ids: tuple[int, ...], **given: Any) -> None:
    """Give up dead jobs for good: by ids, or all that fit.

    They stay in history as long as they are to be kept. It shows first what it would do, and asks.
    """
    wanted = _of_dead(filter_of(ids, given))
    carry_out(lambda now: Change(Verb.DISCARD), wanted, Manner(**given))


def _of_dead(wanted: JobFilter) -> JobFilter:
    """Those of it that are dead; whoever names jobs by their ids is told of those that are not."""
    return wanted if wanted.ids else replace(wanted, state=State.DEAD)


def _code(group: DeadGroup) -> str | None:
    return None if group.fingerprint is None else code_of(group.fingerprint)


def _row(group: DeadGroup) -> list[str]:
    what = group.error_type or ", ".join(group.reasons)
    place = (group.fingerprint or "").partition(": ")[0]
    if place.startswith(f"{what} at "):
        what = place
    return [
        _code(group) or "",
        number(group.jobs, at_least=group.at_least),
        ago(group.first_seen, group.now),
        ago(group.last_seen, group.now),
        ", ".join(group.tasks),
        f"{what}: {visible(group.sample)}" if group.sample else what,
    ]
