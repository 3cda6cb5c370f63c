"""``effects``: what handlers did outside (``ctx.once``), and what nobody knows the outcome of."""

import click

from pgqueue.cli.database import perform
from pgqueue.cli.failures import Refused
from pgqueue.cli.human import ago
from pgqueue.cli.output import Column, print_json, print_table, tell
from pgqueue.cli.params import Name, actor_option, json_option, reason_option
from pgqueue.storage.effects import Effect, list_effects
from pgqueue.storage.effects import resolve as resolve_effect

_COLUMNS = (
    Column("STATE", colour={"unknown": "red", "running": "yellow", "done": "green"}.get),
    Column("TASK", elastic=True),
    Column("KEY", elastic=True),
    Column("JOB", right=True),
    Column("ATTEMPT", right=True),
    Column("SINCE"),
)
_REFUSED = {
    "unknown": "there is no such effect: it was never begun, or was resolved as not happened",
    "done": "it is done already",
    "running": "the attempt that began it still runs; wait for its end",
}


@click.group()
def effects() -> None:
    """Show what jobs do outside and must not repeat, and say what became of it.

    A handler guards such a call with ctx.once(KEY). Where its worker vanished in the middle nobody
    knows whether it happened: find out, resolve it, then retry the job.
    """


@effects.command(
    name="list",
    epilog="""
\b
Examples:
  pgqueue effects list --unknown
  pgqueue effects list --limit 20 --json
""",
)
@click.option("--unknown", is_flag=True, help="Only those of which nobody knows the outcome.")
@click.option(
    "--limit", type=click.IntRange(1, 100_000), metavar="N", default=100, show_default=True
)
@json_option
def list_(unknown: bool, limit: int, as_json: bool) -> None:
    """List what was begun outside, the latest first."""
    found = perform(list_effects(unknown=unknown, limit=limit))
    if as_json:
        print_json({"effects": found})
    elif found:
        print_table(_COLUMNS, [_row(effect) for effect in found])
    else:
        tell("no outcome is unknown" if unknown else "nothing was begun")
    if len(found) == limit:
        tell(f"there may be more: say --limit {2 * limit}")


@effects.command(
    epilog="""
\b
Examples, once the other side was asked:
  pgqueue effects resolve greet welcome:123 --happened --reason "see mail log"
  pgqueue effects resolve pay invoice:77 --did-not-happen --reason "asked"
\b
Then run the job again: pgqueue jobs retry ID. What happened is skipped by
then, what did not is done.
"""
)
@click.argument("task", type=Name(200))
@click.argument("key", type=Name(500))
@click.option("--happened/--did-not-happen", default=None, help="What you found out.")
@actor_option
@reason_option
@json_option
def resolve(
    task: str, key: str, happened: bool | None, actor: str, reason: str | None, as_json: bool
) -> None:
    """Say whether what TASK began outside under KEY happened."""
    if happened is None:
        raise click.UsageError("say what you found out: --happened or --did-not-happen")
    answer = perform(resolve_effect(task, key, happened=happened, actor=actor, reason=reason))
    if answer in _REFUSED:
        raise Refused(f"{key} of {task}: {_REFUSED[answer]}")
    if as_json:
        print_json({"task": task, "key": key, "happened": happened, "answer": answer})
    else:
        said = "happened: it is not done again" if happened else "did not happen: it may be done"
        click.echo(f"{key} of {task} {said}")


def _row(effect: Effect) -> list[str]:
    return [
        effect.state,
        effect.task,
        effect.key,
        str(effect.job_id),
        str(effect.attempt),
        ago(effect.done_at or effect.started_at, effect.now),
    ]
