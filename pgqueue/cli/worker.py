"""``worker``: run jobs until told to stop."""

import logging
from dataclasses import fields
from datetime import timedelta
from typing import Any

import click

from pgqueue.cli.database import find_dsn
from pgqueue.cli.params import Duration, ParamType
from pgqueue.worker.logs import configure
from pgqueue.worker.main import run
from pgqueue.worker.settings import Settings

_DEFAULTS = {field.name: field.default for field in fields(Settings)}


class Slots(ParamType):
    """``QUEUE=SLOTS``; a queue alone has ten."""

    name = "queue=slots"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, int]:
        name, equals, slots = value.rpartition("=")
        if not equals:
            return value, 10
        if not name or not slots.isdecimal():
            self.fail(f"{value!r} is not QUEUE=SLOTS, such as email=5", param, ctx)
        return name, int(slots)


@click.command(
    epilog="""
\b
Examples:
  pgqueue worker myapp.jobs:tasks
  pgqueue worker myapp.jobs:tasks -q email=20 -q reports=1 --processes 4
  pgqueue worker myapp.jobs:tasks --metrics-port 9188 --metrics-host 0.0.0.0
  pgqueue worker myapp.jobs:tasks --reload --log-level debug
  pgqueue worker myapp.jobs:tasks --log-format json 2>>worker.jsonl
\b
SIGTERM or Ctrl-C: take no more jobs, let the running ones end within
--grace, give back the rest. A second one: now.
\b
PGQUEUE_LISTEN_DSN: a direct connection for LISTEN, where PGQUEUE_DSN
goes through a transaction pooler.
\b
Exit codes: 0 stopped as told, 3 configuration, connection or schema,
75 restart me (the process was stuck), 70 a bug.
"""
)
@click.argument("tasks_path", metavar="MODULE:TASKS")
@click.option(
    "-q",
    "--queue",
    "queues",
    type=Slots(),
    multiple=True,
    help="A queue, and how many of its jobs run at once; repeatable.  [default: all that the"
    " tasks name, ten each]",
)
@click.option(
    "--lease", type=Duration(), help="How long a job stays ours unrenewed.  [default: 30s]"
)
@click.option("--poll", type=Duration(), help="The longest sleep without looking.  [default: 1s]")
@click.option("--grace", type=Duration(), help="How long a stop waits for jobs.  [default: 30s]")
@click.option(
    "--prefetch",
    type=int,
    metavar="N",
    default=_DEFAULTS["prefetch"],
    show_default=True,
    help="Claim at most so many short jobs ahead.",
)
@click.option(
    "--processes",
    type=click.IntRange(1, 256),
    metavar="N",
    default=1,
    show_default=True,
    help="Worker processes under one parent; each has all the slots.",
)
@click.option(
    "--health-port",
    type=click.IntRange(1, 65535),
    metavar="PORT",
    help="Serve /live and /ready on 127.0.0.1.",
)
@click.option(
    "--metrics-port",
    type=click.IntRange(1, 65535),
    metavar="PORT",
    help="Serve /metrics, this worker's own figures, for Prometheus; with --processes the parent"
    " does, for all of them together. May be the --health-port.",
)
@click.option(
    "--metrics-host",
    metavar="HOST",
    default=_DEFAULTS["metrics_host"],
    show_default=True,
    help="The address to serve them on; they are not secret, and not protected.",
)
@click.option("--reload", is_flag=True, help="For development: restart when the code changes.")
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    envvar="PGQUEUE_LOG_FORMAT",
    help="Lines for people, or JSON, one object a line.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    envvar="PGQUEUE_LOG_LEVEL",
)
@click.pass_context
def worker(
    ctx: click.Context,
    /,
    tasks_path: str,
    queues: tuple[tuple[str, int], ...],
    processes: int,
    reload: bool,
    log_format: str,
    log_level: str,
    **given: timedelta | int | str | None,
) -> None:
    """Run the jobs of the tasks at MODULE:TASKS, such as myapp.jobs:tasks."""
    chosen: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if queues:
        chosen["queues"] = dict(queues)
    settings = Settings(**chosen, listen_dsn=find_dsn("PGQUEUE_LISTEN_DSN") or None)
    configure(log_format, logging.getLevelNamesMapping()[log_level.upper()])
    ctx.exit(run(tasks_path, find_dsn(), settings, processes=processes, reload=reload))
