"""Options that say which jobs a verb is for."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from pgqueue.cli.output import embedded
from pgqueue.cli.params import JOB_ID, JsonObject, Name, When
from pgqueue.job import Reason, State
from pgqueue.job_filter import JobFilter

F = TypeVar("F", bound=Callable[..., Any])

_WAITING = (State.BLOCKED, State.SCHEDULED, State.AVAILABLE)

_of_any = (
    click.option("--queue", "-q", type=Name(100), help="Those of this queue."),
    click.option("--task", type=Name(200), help="Those of this task."),
    click.option("--job-actor", "of_actor", type=Name(500), help="Those that run for this actor."),
    click.option("--batch", "batch_id", type=JOB_ID, metavar="ID", help="Those of this batch."),
    click.option(
        "--metadata", type=JsonObject("metadata"), help="Those whose metadata has this in it."
    ),
    click.option("--all", "everything", is_flag=True, help="All that there are."),
)
_of_waiting = (
    click.option(
        "--state",
        type=click.Choice([str(state) for state in _WAITING]),
        help="Those in this state.",
    ),
    click.option(
        "--priority", type=click.IntRange(0, 32767), metavar="N", help="Those of this priority."
    ),
    click.option(
        "--older-than", type=When(), metavar="WHEN", help="Those enqueued before this: 2h, a time."
    ),
    click.option(
        "--run-after", type=When(), metavar="WHEN", help="Those due from then on: 'in 1h', a time."
    ),
    click.option("--run-before", type=When(), metavar="WHEN", help="Those due before then."),
)
_of_dead = (
    click.option(
        "--fingerprint", type=Name(500), metavar="CODE", help="Those of this line of dead groups."
    ),
    click.option("--error-type", type=Name(500), metavar="NAME", help="Those that died of this."),
    click.option(
        "--died-of",
        type=click.Choice([str(reason) for reason in Reason]),
        metavar="REASON",
        help=f"Those that died of {', '.join(list(Reason)[:-1])} or {list(Reason)[-1]}.",
    ),
    click.option(
        "--died-after",
        type=When(),
        metavar="WHEN",
        help="Those that died from then on: 2h, a time.",
    ),
    click.option("--died-before", type=When(), metavar="WHEN", help="Those that died before then."),
)


def waiting_filter(command: F) -> F:
    """Options for jobs that wait."""
    return _decorated(command, [*_of_any[:2], *_of_waiting, *_of_any[2:]])


def dead_filter(command: F) -> F:
    """Options for dead jobs."""
    return _decorated(command, [*_of_any[:2], *_of_dead, *_of_any[2:]])


def says_which(given: dict[str, Any]) -> bool:
    """Whether any of these options was given."""
    return any(given.get(name) not in (None, False) for name in _NAMES)


def filter_of(ids: Sequence[int], given: dict[str, Any]) -> JobFilter:
    """Take the options out of *given*; return what they and the ids say."""
    said = {name: given.pop(name) for name in _NAMES if name in given}
    fields = {_FIELDS.get(name, name): value for name, value in said.items() if value is not None}
    if ids:
        fields["ids"] = list(dict.fromkeys(ids))
    if fields.keys() == {"everything"} and not fields["everything"]:
        raise click.UsageError("say which jobs: by their ids, --queue, --task, ... or --all")
    if "metadata" in fields:
        fields["metadata"] = embedded(fields["metadata"])
    return JobFilter(**fields)


_NAMES = (
    "queue",
    "task",
    "of_actor",
    "batch_id",
    "metadata",
    "everything",
    "state",
    "priority",
    "older_than",
    "run_after",
    "run_before",
    "fingerprint",
    "error_type",
    "died_of",
    "died_after",
    "died_before",
)
_FIELDS = {"of_actor": "actor", "older_than": "created_before", "died_of": "reason"}


def _decorated(command: F, options: Sequence[Callable[[F], F]]) -> F:
    for option in reversed(options):
        command = option(command)
    return command
