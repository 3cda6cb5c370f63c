"""``jobs why`` and ``jobs story``: why a job does not run, and what has happened to it."""

import click

from pgqueue.cli.database import perform
from pgqueue.cli.human import ago
from pgqueue.cli.output import Column, print_json, print_table
from pgqueue.cli.params import JOB_ID, json_option
from pgqueue.errors import JobNotFound
from pgqueue.storage.stories import StoryEvent, explain_waiting, tell_story

_REASONS = (Column("WHY"), Column("", elastic=True))
_EVENTS = (
    Column("WHEN"),
    Column("EVENT", colour={"dead": "red", "succeeded": "green"}.get),
    Column("ATTEMPT", right=True),
    Column("WHO", elastic=True),
    Column("", elastic=True),
)


@click.command(
    epilog="""
\b
Example:
  pgqueue jobs why 4711
"""
)
@click.argument("job_id", metavar="ID", type=JOB_ID)
@json_option
def why(job_id: int, as_json: bool) -> None:
    """Say why a job is not running: paused, others ahead of it, no worker knows its task, ..."""
    found = perform(explain_waiting(job_id))
    if as_json:
        print_json({"job": job_id, "reasons": found})
    else:
        print_table(_REASONS, found)


@click.command(
    epilog="""
\b
Example:
  pgqueue jobs story 4711
"""
)
@click.argument("job_id", metavar="ID", type=JOB_ID)
@json_option
def story(job_id: int, as_json: bool) -> None:
    """Tell what has happened to a job: enqueued, each attempt, what people did, how it ended."""
    events = perform(tell_story(job_id))
    if not events:
        raise JobNotFound(job_id)
    if as_json:
        print_json(
            {
                "job": job_id,
                "events": [
                    {name: value for name, value in event._asdict().items() if name != "now"}
                    for event in events
                ],
            }
        )
    else:
        print_table(_EVENTS, [_row(event) for event in events])


def _row(event: StoryEvent) -> list[str]:
    return [
        ago(event.at, event.now),
        event.event,
        "" if event.attempt is None else str(event.attempt),
        event.actor or event.worker or "",
        event.detail or "",
    ]
