"""``status``: how the queues stand, and who works on them."""

from collections.abc import Sequence

import click

from pgqueue.cli.database import database
from pgqueue.cli.human import ago, duration, number
from pgqueue.cli.output import Column, print_json, print_table, tell
from pgqueue.cli.params import json_option
from pgqueue.errors import ForeignDatabase
from pgqueue.storage.drivers import run
from pgqueue.storage.inspection import (
    Count,
    QueueStatus,
    WorkerStatus,
    list_workers,
    queue_status,
)
from pgqueue.storage.schema import require_home

_QUEUES = (
    Column("QUEUE", elastic=True),
    Column("WAITING", right=True),
    Column("SCHEDULED", right=True),
    Column("RUNNING", right=True),
    Column("DEAD", right=True, colour=lambda cell: None if cell.startswith("0") else "red"),
    Column("OLDEST", right=True),
    Column("SLOTS", right=True),
    Column("", elastic=True, colour=lambda cell: "yellow" if cell else None),
)
_WORKERS = (
    Column("WORKER", elastic=True),
    Column("PID", right=True),
    Column("QUEUES", elastic=True),
    Column("UP", right=True),
    Column("SEEN"),
)


@click.command(
    epilog="""
\b
Examples:
  pgqueue status
  pgqueue status --json | jq '.queues[] | select(.dead.size > 0)'
\b
WAITING jobs can run now, OLDEST is how long one of them has waited.
SCHEDULED ones are due later, those that failed and are tried again included.
A count such as 10,000+ is "at least": no big table is counted.
\b
The role pgqueue_operator is enough; a monitor has pgqueue top --once.
"""
)
@json_option
def status(as_json: bool) -> None:
    """Show every queue, and the workers that are alive."""
    with database() as connection:
        queues = run(connection, queue_status())
        workers = run(connection, list_workers())
        try:
            run(connection, require_home())
            stranger = None
        except ForeignDatabase as error:
            stranger = str(error)
    if as_json:
        print_json({"queues": queues, "workers": workers, "adopted": stranger is None})
        return
    _print_queues(queues)
    _print_workers([worker for worker in workers if worker.alive])
    if stranger is not None:
        tell(f"\nWarning: {stranger}")


def _print_queues(queues: Sequence[QueueStatus]) -> None:
    if not queues:
        click.echo("no queues yet: no job, no task, no worker")
        return
    print_table(_QUEUES, [_queue_row(queue) for queue in queues])


def _queue_row(queue: QueueStatus) -> list[str]:
    waited = (queue.now - queue.oldest_at).total_seconds() if queue.oldest_at else None
    return [
        queue.name,
        _count(queue.available),
        number(queue.scheduled.size + queue.retrying.size, at_least=queue.scheduled.at_least),
        _count(queue.running),
        _count(queue.dead),
        "" if waited is None else duration(waited),
        number(queue.slots),
        _remark(queue),
    ]


def _remark(queue: QueueStatus) -> str:
    if queue.paused_at is not None:
        return f"paused {ago(queue.paused_at, queue.now)}"
    return "no worker" if queue.available.size and not queue.slots else ""


def _count(count: Count) -> str:
    return number(count.size, at_least=count.at_least)


def _print_workers(workers: Sequence[WorkerStatus]) -> None:
    if not workers:
        click.echo("\nno worker is alive; start one: pgqueue worker MODULE:TASKS")
        return
    click.echo()
    print_table(_WORKERS, [_worker_row(worker) for worker in workers])


def _worker_row(worker: WorkerStatus) -> list[str]:
    return [
        worker.host,
        str(worker.pid),
        " ".join(f"{name}={slots}" for name, slots in worker.queues.items()),
        duration((worker.now - worker.started_at).total_seconds()),
        ago(worker.seen_at, worker.now),
    ]
