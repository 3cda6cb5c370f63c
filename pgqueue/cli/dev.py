"""``dev``: a database for playing, kept from one time to the next."""

import shlex
import sys
import threading
from pathlib import Path

import click

from pgqueue import migrate
from pgqueue.cli.output import print_json, tell
from pgqueue.cli.params import json_option
from pgqueue.embedded import EmbeddedPostgres, default_directory, exit_on_sigterm


@click.command(
    epilog="""
\b
Examples:
  pgqueue dev
  pgqueue dev --dir ./.pgqueue-dev
\b
Then, in another terminal, paste the line that it printed:
  export PGQUEUE_DSN=...
  pgqueue enqueue hello --args '{"name": "you"}'
  pgqueue status
"""
)
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=default_directory,
    help=f"Where the database is kept.  [default: {default_directory()}]",
)
@json_option
def dev(directory: Path, as_json: bool) -> None:
    """Run a PostgreSQL of your own, with the schema, until Ctrl-C.

    It needs no installation beyond pgqueue[embedded], listens on a private socket only, and keeps
    its jobs: the next time they are there again. Remove the directory to begin anew.
    """
    exit_on_sigterm()
    tell(f"starting PostgreSQL in {directory} ...")
    with EmbeddedPostgres(directory) as server:
        revision = migrate.upgrade(server.dsn)
        tell(f"PostgreSQL {server.version}, schema {revision}. In another terminal, paste:\n")
        if as_json:
            print_json({"dsn": server.dsn})
        else:
            click.echo(f"export PGQUEUE_DSN={shlex.quote(server.dsn)}")
        sys.stdout.flush()  # whoever reads it through a pipe waits for it
        tell("\nrunning until Ctrl-C")
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            tell("\nstopping; the jobs are kept")
