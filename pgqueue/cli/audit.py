"""``audit``: who caused what, who touched it, and what people did."""

from collections.abc import Sequence
from typing import Any

import click

from pgqueue.cli.database import perform
from pgqueue.cli.human import local
from pgqueue.cli.output import Column, print_json, print_table, tell
from pgqueue.cli.params import JOB_ID, Name, When, json_option
from pgqueue.storage.stories import TrailEvent, list_trail

_COLUMNS = (
    Column("WHEN"),
    Column("ACTION", elastic=True, colour={"dead": "red"}.get),
    Column("JOB", right=True),
    Column("TASK", elastic=True),
    Column("QUEUE", elastic=True),
    Column("FOR", elastic=True),
    Column("BY", elastic=True),
    Column("REASON", elastic=True),
)


@click.command(
    epilog="""
\b
Examples:
  pgqueue audit --since 1d
  pgqueue audit --actor 123 --since 2026-11-01T00:00:00Z --until 1d
  pgqueue audit --job 4711
  pgqueue audit --by ann --json
"""
)
@click.option("--actor", type=Name(500), help="What jobs for this actor did, and who touched them.")
@click.option("--job", "job_id", type=JOB_ID, metavar="ID", help="What happened to this job.")
@click.option("--by", type=Name(500), help="Only what this person, or worker, did.")
@click.option("--since", type=When(), metavar="WHEN", help="From then on: 2h (ago), or a time.")
@click.option("--until", type=When(), metavar="WHEN", help="Before then.")
@click.option(
    "--limit", type=click.IntRange(1, 100_000), metavar="N", default=1000, show_default=True
)
@json_option
def audit(
    actor: str | None,
    job_id: int | None,
    by: str | None,
    since: Any,
    until: Any,
    limit: int,
    as_json: bool,
) -> None:
    """Show who caused what, and who touched it.

    Of an actor or a job: every enqueue, start, outcome and end, and every verb, in order of time,
    as far back as history is kept. Otherwise what people did to jobs and queues, the latest first;
    that is kept for good. Nothing of what jobs hold is in it.
    """
    found = perform(
        list_trail(actor=actor, job_id=job_id, by=by, since=since, until=until, limit=limit)
    )
    if as_json:
        print_json({"events": found})
    elif found:
        _print(found)
    else:
        tell("nothing is known")
    if len(found) == limit:
        tell(f"there may be more: say --since and --until, or --limit {2 * limit}")


def _print(events: Sequence[TrailEvent]) -> None:
    """Print them, without the columns that would be empty: there are many."""
    cells = list(zip(*map(_row, events), strict=True))
    used = [n for n, column in enumerate(cells) if any(column)]
    print_table([_COLUMNS[n] for n in used], list(zip(*[cells[n] for n in used], strict=True)))


def _row(event: TrailEvent) -> list[str]:
    by = event.done_by or ""
    if event.db_user is not None and event.db_user != by:
        by = f"{by} ({event.db_user})"
    return [
        local(event.at),
        event.action,
        "" if event.job_id is None else str(event.job_id),
        event.task or "",
        event.queue or "",
        event.actor or "",
        by,
        event.reason or "",
    ]
