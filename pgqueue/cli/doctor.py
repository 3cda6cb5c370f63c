"""``doctor``: what is not broken yet, and what to do about it."""

import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import click
from psycopg import Connection

from pgqueue.cli.database import find_dsn
from pgqueue.cli.output import coloured, print_heading, print_json, terminal_width, visible
from pgqueue.cli.params import json_option
from pgqueue.migrate import head
from pgqueue.migrate.indexes import declared
from pgqueue.storage import tls
from pgqueue.storage.checkup.check import Circumstances, Finding, Severity
from pgqueue.storage.checkup.examination import NOT_ALLOWED, examine
from pgqueue.storage.connect import connect, is_pooled
from pgqueue.tasks import Tasks
from pgqueue.worker.loading import load_tasks

_EXITS = {Severity.WARNING: 1, Severity.CRITICAL: 2}
_COLOURS = {
    Severity.OK: "green",
    Severity.INFO: "cyan",
    Severity.WARNING: "yellow",
    Severity.CRITICAL: "red",
}
_WIDTH = 80
_SEVERITY, _CHECK = 9, 17


@click.command(
    epilog="""
\b
Exit codes, as monitoring plug-ins have them: 0 nothing to do, 1 a warning,
2 something critical, 3 it could not be found out.
\b
Examples:
  pgqueue doctor
  pgqueue doctor --app myapp.jobs:tasks --quiet
  pgqueue doctor --json | jq -r '.findings[] | select(.fix) | .fix'
\b
It reads only, and gives each look up after five seconds. What it proposes
can be pasted: SQL ends in a semicolon, the rest is for the shell. Run it as
the user of the workers, for settings differ by user; being a member of
pg_monitor lets it see who holds an old snapshot.
"""
)
@click.option(
    "--app",
    "tasks_path",
    metavar="MODULE:TASKS",
    help="Your tasks: whether they can still read what waits, and have the keys it is under.",
)
@click.option("--quiet", is_flag=True, help="Print warnings and what is critical only.")
@json_option
def doctor(tasks_path: str | None, quiet: bool, as_json: bool) -> None:
    """Look for what should be mended before it hurts, and say how.

    The server's settings, what keeps dead rows alive, vacuum, indexes and plans, history's
    partitions, rights, workers, and jobs that nobody can run.
    """
    tasks = load_tasks(tasks_path) if tasks_path else None
    with connect(find_dsn(), "cli") as connection:
        findings = examine(connection, circumstances(connection, tasks))
    shown = [each for each in findings if not quiet or each.severity in _EXITS]
    if as_json:
        print_json({"findings": shown})
    else:
        _print(shown)
        if not quiet:
            _print_sum(findings)
    raise click.exceptions.Exit(max((_EXITS.get(each.severity, 0) for each in findings), default=0))


def circumstances(connection: Connection[Any], tasks: Tasks | None) -> Circumstances:
    """What is to be known beside the rows."""
    given = connection.info
    host = given.hostaddr or given.host
    return Circumstances(
        head=head(),
        indexes=declared(),
        host=given.host or host,
        is_local=tls.is_local(host),
        is_encrypted=connection.pgconn.ssl_in_use,
        sslmode=given.get_parameters().get("sslmode", ""),
        is_pooled=is_pooled(connection),
        tasks=tasks,
    )


def _print(findings: Sequence[Finding]) -> None:
    group = ""
    for each in findings:
        if each.group != group:
            print_heading(each.group.upper(), apart=bool(group))
            group = each.group
        _print_finding(each)


def _print_finding(finding: Finding) -> None:
    room = (terminal_width() or _WIDTH) - _SEVERITY - _CHECK
    first, *rest = textwrap.wrap(visible(finding.text), max(room, 30)) or [""]
    severity = coloured(f"{finding.severity:<{_SEVERITY}}", _COLOURS[finding.severity])
    click.echo(f"{severity}{finding.check:<{_CHECK}}{first}")
    for line in rest:
        click.echo(f"{'':{_SEVERITY + _CHECK}}{line}")
    # Whole, and near the margin: what is broken to fit a column cannot be pasted.
    for line in (finding.fix or "").splitlines():
        click.echo(f"  {visible(line)}")


def _print_sum(findings: Sequence[Finding]) -> None:
    counts: Mapping[Severity, int] = Counter(each.severity for each in findings)
    checks = len({each.check for each in findings})
    wrong = [f"{counts[level]} {level}" for level in reversed(Severity) if counts[level]]
    unseen = sum(each.text.startswith(NOT_ALLOWED) for each in findings)
    rest = "" if any(counts[level] for level in _EXITS) else "; nothing to do"
    rest += f"; {unseen} were not allowed to look" if unseen else ""
    click.echo(f"\n{checks} checks: {', '.join(wrong)}{rest}")
