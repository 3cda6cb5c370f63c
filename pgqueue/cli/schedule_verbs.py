"""What people do to schedules: ``schedules run``, ``enable``, ``disable``."""

import click

from pgqueue.cli.database import perform
from pgqueue.cli.output import print_json, visible
from pgqueue.cli.params import Name, actor_option, json_option, reason_option
from pgqueue.errors import ScheduleNotFound
from pgqueue.storage import schedules as operations

_name = click.argument("name", type=Name(200))


@click.command(
    epilog="""
\b
Example:
  pgqueue schedules run daily-report --reason "yesterday's was wrong"
"""
)
@_name
@actor_option
@reason_option
@json_option
def run(name: str, actor: str, reason: str | None, as_json: bool) -> None:
    """Enqueue the job of the schedule NAME now; print its id.

    Whatever runs, and whether the schedule is enabled. Its next tick stays when it is.
    """
    job_id = perform(operations.run_now(name, actor=actor, reason=reason))
    if job_id is None:
        raise ScheduleNotFound(name)
    if as_json:
        print_json({"name": name, "job_id": job_id})
    else:
        click.echo(job_id)


@click.command(
    epilog="""
\b
Example:
  pgqueue schedules enable daily-report
"""
)
@_name
@actor_option
@reason_option
@json_option
def enable(name: str, actor: str, reason: str | None, as_json: bool) -> None:
    """Have the schedule NAME make jobs again, from now on."""
    answer = perform(operations.enable(name, actor=actor, reason=reason))
    _report(name, answer, as_json)


@click.command(
    epilog="""
\b
Example:
  pgqueue schedules disable daily-report --reason "the warehouse moves"
"""
)
@_name
@actor_option
@reason_option
@json_option
def disable(name: str, actor: str, reason: str | None, as_json: bool) -> None:
    """Have the schedule NAME make no more jobs until somebody enables it; no deployment does."""
    answer = perform(operations.disable(name, actor=actor, reason=reason))
    _report(name, answer, as_json)


def _report(name: str, answer: str, as_json: bool) -> None:
    if answer == "unknown":
        raise ScheduleNotFound(name)
    if as_json:
        print_json({"name": name, "state": answer})
    else:
        click.echo(f"schedule {visible(name)} is {answer}")
