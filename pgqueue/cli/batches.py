"""``batches``: list them, look at one, cancel and retry them."""

import time

import click

from pgqueue.cli.database import perform
from pgqueue.cli.human import ago, local, number
from pgqueue.cli.output import (
    Column,
    print_heading,
    print_json,
    print_table,
    tell,
    terminal_width,
    visible,
)
from pgqueue.cli.params import JOB_ID, actor_option, json_option, reason_option
from pgqueue.storage import batches as storage
from pgqueue.storage.batches import BatchStatus

_COLUMNS = (
    Column("ID", right=True),
    Column("NAME", elastic=True),
    Column("WHEN"),
    Column("DONE", right=True),
    Column("JOBS", right=True),
    Column("SUCCEEDED", right=True),
    Column("FAILED", right=True, colour=lambda cell: None if cell == "0" else "red"),
    Column("CANCELLED", right=True),
)
_BAR = 30
_LOOK_EVERY = 0.5

_batch_id = click.argument("batch_id", metavar="ID", type=JOB_ID)


@click.group()
def batches() -> None:
    """List batches, look at one, cancel and retry them."""


@batches.command(
    name="list",
    epilog="""
\b
Examples:
  pgqueue batches list
  pgqueue batches list --open
""",
)
@click.option("--open", "is_open", is_flag=True, help="Only those under way.")
@click.option("--limit", type=click.IntRange(1, 10_000), metavar="N", default=50, show_default=True)
@click.option("--before", type=JOB_ID, metavar="ID", help="Only those before this one.")
@json_option
def list_(is_open: bool, limit: int, before: int | None, as_json: bool) -> None:
    """List batches, the newest first."""
    found = perform(storage.list_batches(is_open=is_open, limit=limit, before=before))
    more = found[-1].id if len(found) == limit else None
    if as_json:
        print_json({"batches": [_details(batch) for batch in found], "next": more})
        return
    if found:
        print_table(_COLUMNS, [_row(batch) for batch in found])
    else:
        tell("no such batches")
    if more is not None:
        option = " --open" if is_open else ""
        tell(f"more: pgqueue batches list{option} --limit {limit} --before {more}")


@batches.command(
    epilog="""
\b
Examples:
  pgqueue batches show 12
  pgqueue batches show 12 --watch
  pgqueue jobs list --batch 12 --state dead
"""
)
@_batch_id
@click.option("--watch", is_flag=True, help="Show a progress bar until nothing is left to run.")
@json_option
def show(batch_id: int, watch: bool, as_json: bool) -> None:
    """Show how a batch stands: how many of its jobs are over, and how they ended."""
    batch = _watched(batch_id) if watch else perform(storage.show_batch(batch_id))
    if as_json:
        print_json(_details(batch))
        return
    state = "over" if batch.is_complete else "under way"
    print_heading(f"batch {batch.id}  {visible(batch.name or '')}  {state}", apart=False)
    for name, text in (
        ("enqueued", f"{local(batch.created_at)} ({ago(batch.created_at, batch.now)})"),
        ("over since", batch.completed_at and local(batch.completed_at)),
        ("actor", batch.actor),
        ("jobs", number(batch.total)),
        ("succeeded", number(batch.succeeded)),
        ("failed", number(batch.failed)),
        ("cancelled", number(batch.cancelled)),
        ("pending", number(batch.pending)),
        ("on success", _callback(batch.success_job_id)),
        ("on complete", _callback(batch.complete_job_id)),
        ("on failure", _callback(batch.failure_job_id)),
    ):
        if text:
            click.echo(f"  {name:<13}{visible(text)}")


@batches.command(
    epilog="""
\b
Example:
  pgqueue batches cancel 12 --reason "the file was the wrong one"
"""
)
@_batch_id
@actor_option
@reason_option
@json_option
def cancel(batch_id: int, actor: str, reason: str | None, as_json: bool) -> None:
    """Cancel the jobs of a batch: those that wait at once; those that run are asked to stop."""
    done = perform(storage.cancel_batch(batch_id, actor=actor, reason=reason))
    if as_json:
        print_json({"batch": batch_id, **done._asdict()})
        return
    click.echo(
        f"batch {batch_id}: {number(done.cancelled)} jobs cancelled, "
        f"{number(done.requested)} that run were asked to stop"
    )
    _tell_busy(done.busy, "cancel")


@batches.command(
    epilog="""
\b
Example:
  pgqueue batches retry 12 --reason "the mail server is back"
"""
)
@_batch_id
@actor_option
@reason_option
@json_option
def retry(batch_id: int, actor: str, reason: str | None, as_json: bool) -> None:
    """Run the dead jobs of a batch again, with all their attempts."""
    done = perform(storage.retry_batch(batch_id, actor=actor, reason=reason))
    if as_json:
        print_json({"batch": batch_id, **done._asdict()})
        return
    click.echo(f"batch {batch_id}: {number(done.retried)} dead jobs will run again")
    _tell_busy(done.busy, "retry")


def _watched(batch_id: int) -> BatchStatus:
    """Look again and again until nothing is left to run, showing a bar on a terminal.

    Each look is a connection of its own: nothing stays open in between, whatever pools them.
    """
    while True:
        batch = perform(storage.show_batch(batch_id))
        if terminal_width() is not None:
            click.echo(f"\r{_bar(batch)}", nl=batch.is_complete)
        if batch.is_complete:
            return batch
        time.sleep(_LOOK_EVERY)


def _bar(batch: BatchStatus) -> str:
    filled = "#" * int(_BAR * batch.progress)
    failed = f", {number(batch.failed)} failed" if batch.failed else ""
    share = f"{number(batch.done)} of {number(batch.total)}"
    return f"[{filled:<{_BAR}}] {int(100 * batch.progress):>3} %  {share}{failed}"


def _tell_busy(busy: int, verb: str) -> None:
    if busy:
        tell(f"{number(busy)} jobs were being written right now and left alone; {verb} again")


def _callback(job_id: int | None) -> str | None:
    return None if job_id is None else f"job {job_id}"


def _details(batch: BatchStatus) -> dict[str, object]:
    return {**batch._asdict(), "pending": batch.pending, "progress": batch.progress}


def _row(batch: BatchStatus) -> list[str]:
    when = batch.completed_at or batch.created_at
    return [
        str(batch.id),
        batch.name or "",
        f"{'over' if batch.completed_at else 'made'} {ago(when, batch.now)}",
        f"{int(100 * batch.progress)} %",
        number(batch.total),
        number(batch.succeeded),
        number(batch.failed),
        number(batch.cancelled),
    ]
