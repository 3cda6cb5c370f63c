"""A verb on many jobs, as a person gives it: shown first, asked about, then done in steps."""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

import click

from pgqueue.cli.database import Step, stepwise
from pgqueue.cli.failures import Refused
from pgqueue.cli.human import number
from pgqueue.cli.output import print_json, print_table, tell
from pgqueue.cli.pace import Pace
from pgqueue.cli.params import JOB_ID, Moment, Rate, actor_option, json_option
from pgqueue.cli.progress import progress
from pgqueue.cli.rows import COLUMNS, row_of
from pgqueue.job_filter import JobFilter
from pgqueue.storage import steering
from pgqueue.storage.course import SLICE, Course, Steered, Why
from pgqueue.storage.steering import STATES, Change, Sieve, Start, Survey, Verb

F = TypeVar("F", bound=Callable[..., Any])

_DONE = {
    Verb.CANCEL: "cancelled",
    Verb.RUN_NOW: "made available",
    Verb.RESCHEDULE: "rescheduled",
    Verb.REPRIORITISE: "reprioritised",
    Verb.MOVE: "moved",
    Verb.REDRIVE: "redriven",
    Verb.DISCARD: "discarded",
}
_REFUSED = {
    "gone": "are over, or were never there",
    "expires": "would expire before they may start",
    "unfit": "have arguments that do not fit their task",
}


class Manner(NamedTuple):
    """How a verb on many jobs is to be carried out."""

    limit: int | None
    rate: float | None
    up_to: int | None
    as_of: datetime | None
    dry_run: bool
    yes: bool
    actor: str
    reason: str | None
    as_json: bool


def manner_options(command: F) -> F:
    """The options that make a :class:`Manner`, but for ``--reason``."""
    for option in (
        json_option,
        actor_option,
        click.option("--yes", "-y", is_flag=True, help="Do not ask."),
        click.option("--dry-run", is_flag=True, help="Only show what would be done."),
        click.option(
            "--as-of",
            type=Moment(),
            metavar="TIME",
            help="Count lengths of time from this moment, not from now: to go on.",
        ),
        click.option(
            "--up-to",
            type=JOB_ID,
            metavar="ID",
            help="No job with a higher id: to go on.",
        ),
        click.option("--rate", type=Rate(), metavar="N/s", help="So many a second: 10/s, 90/min."),
        click.option("--limit", type=click.IntRange(1), metavar="N", help="So many at most."),
    ):
        command = option(command)
    return command


def carry_out(
    change_at: Callable[[datetime], Change],
    wanted: JobFilter,
    manner: Manner,
    sieve: Sieve | None = None,
) -> None:
    """Do to the jobs that *wanted* fits what *change_at* makes of the database's clock: show it,
    ask, do it, and say what became of it. Exit with 1 if nothing could be done, or not all.

    *sieve*: lets only some of them through, by their arguments.
    """
    with stepwise() as step:
        start: Start = step(steering.begin())
        start = Start(manner.as_of or start.now, manner.up_to or start.up_to)
        change = change_at(start.now)
        found: Survey = step(
            steering.survey(wanted, start, sample_of=[str(state) for state in STATES[change.verb]])
        )
        count = _count(change, found, manner.limit)
        if not manner.as_json and (manner.dry_run or not manner.yes):
            _show(change, found, count, start)
        if manner.dry_run or not count:
            refused = _refusals(change, found)
            if sieve is not None and count:
                refused["unfit"] = step(steering.count_unfit(wanted, start, sieve))
            outcome = Steered(0, 0, refused, 0, start.up_to)
            _report(change, outcome, manner, found)
            return
        if not manner.yes:
            click.confirm(f"{count} jobs to be {_DONE[change.verb]}: go on?", abort=True, err=True)
        if not manner.as_json:
            _tell_how_to_go_on(start)
        why = Why(actor=manner.actor, reason=manner.reason)
        course = Course(change, wanted, start, why, limit=manner.limit, sieve=sieve)
        _follow(step, course, manner, _DONE[change.verb], _expected(change, found, manner.limit))
    _report(change, course.outcome, manner, found)


def _follow(step: Step, course: Course, manner: Manner, done: str, expected: int) -> None:
    pace = Pace(manner.rate, SLICE)
    try:
        with progress(done, expected) as reached:
            while not course.is_over:
                step(course.step(pace.next_step(course.done)))
                reached(course.done)
    except KeyboardInterrupt:
        tell(f"interrupted: {number(course.done)} jobs {done}; the same command goes on")
        raise


def _tell_how_to_go_on(start: Start) -> None:
    """Said before it begins: who is killed says nothing any more."""
    moment = start.now.astimezone(UTC).isoformat()
    tell(
        "if it is interrupted, the same command goes on, with "
        f"--up-to {start.up_to} --as-of {moment}"
    )


def _show(change: Change, found: Survey, count: str, start: Start) -> None:
    click.echo(f"{count or 'no'} jobs would be {_DONE[change.verb]}")
    if found.sample:
        print_table(COLUMNS, [row_of(job, start.now) for job in found.sample])
    rest = _expected(change, found, None) - len(found.sample)
    if rest > 0:
        click.echo(f"... and {number(rest, at_least=found.at_least)} more that fit")


def _expected(change: Change, found: Survey, limit: int | None) -> int:
    fitting = sum(found.states.get(state, 0) for state in STATES[change.verb])
    return fitting if limit is None else min(fitting, limit)


def _count(change: Change, found: Survey, limit: int | None) -> str:
    """How many will be touched, in words; empty: none."""
    expected = _expected(change, found, limit)
    if not expected and not found.at_least:
        return ""
    return number(expected, at_least=found.at_least and expected != limit)


def _refusals(change: Change, found: Survey) -> dict[str, int]:
    return {state: n for state, n in found.states.items() if state not in STATES[change.verb]}


def _report(change: Change, outcome: Steered, manner: Manner, found: Survey) -> None:
    if manner.as_json:
        print_json(
            {
                "verb": str(change.verb),
                "dry_run": manner.dry_run,
                "would_touch": _expected(change, found, manner.limit),
                "at_least": found.at_least,
                "sample": found.sample,
                **outcome._asdict(),
            }
        )
    else:
        if not manner.dry_run:
            click.echo(f"{number(outcome.done)} jobs {_DONE[change.verb]}")
        for text in _left_alone(outcome.refused):
            tell(text)
        if outcome.unchanged:
            tell(f"{number(outcome.unchanged)} were so already")
        if outcome.busy:
            tell(f"{number(outcome.busy)} were being written both times; run it again")
    useless = bool(outcome.refused) and not outcome.done and not outcome.unchanged
    if not manner.dry_run and (outcome.busy or useless):
        raise click.exceptions.Exit(Refused.exit_code)


def _left_alone(refused: Mapping[str, int]) -> Iterator[str]:
    for why, jobs in refused.items():
        yield f"left alone: {number(jobs)} that {_REFUSED.get(why, f'are {why}')}"
