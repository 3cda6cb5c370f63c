"""What people do to jobs: ``jobs retry``, ``cancel``, ``discard``, ``edit``."""

from collections.abc import Sequence
from typing import Any

import click

from pgqueue.cli.database import perform
from pgqueue.cli.failures import Refused
from pgqueue.cli.filters import filter_of, says_which, waiting_filter
from pgqueue.cli.output import print_json
from pgqueue.cli.params import JOB_ID, REASON, JsonObject, actor_option, json_option, reason_option
from pgqueue.cli.steering import Manner, carry_out, manner_options
from pgqueue.storage import verbs
from pgqueue.storage.steering import Change, Verb
from pgqueue.storage.verbs import Done

_DONE = {
    "available": "will run as soon as a worker is free",
    "cancelled": "cancelled",
    "requested": "is running; its worker was told to stop it",
    "discarded": "discarded",
    "edited": "has the new arguments",
}
_REFUSED = {
    "unknown": "there is no such job: it never was, or its history is over",
    "busy": "its row is being written right now; try again",
}
# What a state that forbids one verb allows instead.
_INSTEAD = {
    "available": "it waits for a worker already",
    "blocked": "it waits for other jobs",
    "scheduled": "it waits for its time; cancel it, or retry it to run it now",
    "running": "it is running; cancel it first",
    "dead": "it is dead; retry or discard it",
    "succeeded": "it has succeeded",
    "cancelled": "it was cancelled",
    "discarded": "it was discarded",
}

_ids = click.argument("ids", metavar="ID...", type=JOB_ID, nargs=-1, required=True)


@click.command(
    epilog="""
\b
Examples:
  pgqueue jobs retry 4711 4712 --reason "the mail server is back"
  pgqueue jobs retry 4711 --args '{"user_id": 124}'
"""
)
@_ids
@click.option("--args", type=JsonObject("args"), help="Other arguments: JSON, @FILE, or -.")
@actor_option
@reason_option
@json_option
def retry(
    ids: tuple[int, ...], args: str | None, actor: str, reason: str | None, as_json: bool
) -> None:
    """Run dead jobs again, with all their attempts; run scheduled jobs now."""
    if args is not None and len(set(ids)) > 1:
        raise click.UsageError("--args is for one job: they would all get the same arguments")
    _report(
        perform(verbs.retry(_unique(ids), args=args, actor=actor, reason=reason)),
        "retried",
        as_json,
    )


@click.command(
    epilog="""
\b
Examples:
  pgqueue jobs cancel 4711 --reason "wrong customer"
  pgqueue jobs cancel --task newsletter --older-than 1d --dry-run
"""
)
@click.argument("ids", metavar="[ID...]", type=JOB_ID, nargs=-1)
@waiting_filter
@manner_options
@reason_option
def cancel(ids: tuple[int, ...], **given: Any) -> None:
    """Stop jobs. Of those named by ids, what waits at once; those that run are asked to, and may
    finish first.

    With a filter, all that fit and wait: it shows first what it would do, and asks; jobs that run
    are left alone, and so are those that were enqueued since it began. Killed in the middle, the
    same command goes on.
    """
    if ids and not says_which(given) and not _is_for_many(given):
        actor, reason = given["actor"], given["reason"]
        done = perform(verbs.cancel(_unique(ids), actor=actor, reason=reason))
        _report(done, "cancelled", given["as_json"])
        return
    wanted = filter_of(ids, given)
    carry_out(lambda now: Change(Verb.CANCEL), wanted, Manner(**given))


@click.command(
    epilog="""
\b
Example:
  pgqueue jobs discard 4711 --reason "the customer is gone"
"""
)
@_ids
@actor_option
@click.option(
    "--reason", type=REASON, metavar="TEXT", required=True, help="Why; kept in the audit."
)
@json_option
def discard(ids: tuple[int, ...], actor: str, reason: str, as_json: bool) -> None:
    """Give up dead jobs for good. They stay in history as long as they are to be kept."""
    _report(perform(verbs.discard(_unique(ids), actor=actor, reason=reason)), "discarded", as_json)


@click.command(
    epilog="""
\b
Example:
  pgqueue jobs edit 4711 --args '{"user_id": 124}' && pgqueue jobs retry 4711
"""
)
@click.argument("job_id", metavar="ID", type=JOB_ID)
@click.option("--args", type=JsonObject("args"), required=True, help="JSON, @FILE, or -.")
@actor_option
@reason_option
@json_option
def edit(job_id: int, args: str, actor: str, reason: str | None, as_json: bool) -> None:
    """Give a job that is not running other arguments."""
    _report([perform(verbs.edit(job_id, args=args, actor=actor, reason=reason))], "edited", as_json)


def _is_for_many(given: dict[str, Any]) -> bool:
    return any(given[name] for name in ("limit", "rate", "up_to", "dry_run"))


def _report(results: Sequence[Done], participle: str, as_json: bool) -> None:
    """Say what became of each job; exit with 1 if any was refused."""
    if as_json:
        print_json({"jobs": results})
    else:
        for done in results:
            click.echo(f"job {done.id}: {_sentence(done, participle)}", err=not done.ok)
    if not all(done.ok for done in results):
        raise click.exceptions.Exit(Refused.exit_code)


def _sentence(done: Done, participle: str) -> str:
    if done.ok:
        return _DONE[done.answer]
    why = _REFUSED.get(done.answer) or _INSTEAD.get(done.answer, done.answer)
    return f"not {participle}: {why}"


def _unique(ids: Sequence[int]) -> list[int]:
    return list(dict.fromkeys(ids))
