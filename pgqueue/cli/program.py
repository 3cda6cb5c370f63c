"""The command ``pgqueue``: its groups, and the one place where errors become sentences."""

import io
import os
import sys
from contextlib import suppress
from typing import Any

import click
import psycopg

from pgqueue.cli import (
    alert_rules,
    alerts,
    audit,
    batches,
    bulk,
    dead,
    dev,
    doctor,
    effects,
    enqueue,
    exporter,
    jobs,
    keys,
    queues,
    roles,
    schedule_verbs,
    schedules,
    schema,
    settings,
    status,
    stories,
    sync,
    top,
    verbs,
    worker,
)
from pgqueue.cli.database import where
from pgqueue.cli.failures import (
    INTERRUPTED,
    PIPE_CLOSED,
    of_encoding,
    of_pgqueue,
    of_postgres,
    of_system,
)
from pgqueue.errors import PgqueueError
from pgqueue.worker.version import VERSION


class Program(click.Group):
    """Runs a command; whatever it raises is told in a sentence, never as a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            if sys.stdout is not None:  # now, while a failure can still be told
                sys.stdout.flush()
            return result
        except PgqueueError as error:
            raise of_pgqueue(error) from error
        except UnicodeEncodeError as error:
            raise of_encoding() from error
        except psycopg.Error as error:
            raise of_postgres(error, where()) from error
        except BrokenPipeError:
            _forget_stdout()
            raise click.exceptions.Exit(PIPE_CLOSED) from None
        except OSError as error:
            _forget_stdout()
            raise of_system(error) from error
        except KeyboardInterrupt:
            raise click.exceptions.Exit(INTERRUPTED) from None


@click.group(
    name="pgqueue",
    cls=Program,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""
\b
The database is the one in the environment variable PGQUEUE_DSN
(postgresql://user@host/database); without it libpq's own variables
decide: PGHOST, PGDATABASE, PGSERVICE, ...

\b
Exit codes: 0 done, 1 refused, 2 wrong usage, 3 configuration,
connection or schema. `alerts` and `doctor` have their own.
""",
)
@click.version_option(VERSION, message="pgqueue %(version)s")
def program() -> None:
    """A durable job queue that is a few tables in your PostgreSQL."""


for command in (
    schema.migrate,
    schema.downgrade,
    schema.adopt,
    dev.dev,
    worker.worker,
    sync.sync,
    enqueue.enqueue,
    status.status,
    top.top,
    alerts.alerts,
    exporter.exporter,
    doctor.doctor,
    jobs.jobs,
    dead.dead,
    audit.audit,
    effects.effects,
    batches.batches,
    queues.queues,
    keys.keys,
    roles.roles,
    schedules.schedules,
):
    program.add_command(command)
for command in (
    *(verbs.retry, verbs.cancel, verbs.discard, verbs.edit),
    *(bulk.run_now, bulk.reschedule, bulk.reprioritise, bulk.move),
    *(stories.why, stories.story),
):
    jobs.jobs.add_command(command)
for command in (alert_rules.rules, alert_rules.set_, alert_rules.unset):
    alerts.alerts.add_command(command)
queues.queues.add_command(settings.set_)
for command in (schedule_verbs.run, schedule_verbs.enable, schedule_verbs.disable):
    schedules.schedules.add_command(command)


def main() -> None:
    """Run the command line. Text that the terminal has no characters for is replaced."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    program()


def _forget_stdout() -> None:
    """What could not be written cannot be written at exit either, and is not to be tried."""
    with suppress(OSError, AttributeError, ValueError):
        stdout = sys.stdout.fileno()
        os.dup2(os.open(os.devnull, os.O_WRONLY), stdout)
