"""``roles``: who may do what in the database."""

import click

from pgqueue.cli.database import perform
from pgqueue.cli.output import print_json, tell
from pgqueue.cli.params import Name, json_option
from pgqueue.storage.access import create_roles

_FOR = {
    "enqueuer": "enqueue, and nothing else",
    "worker": "run jobs",
    "monitor": "see counts, ages and states; no payload, no error",
    "operator": "retry, cancel, discard, edit, pause; sees all but payloads",
    "admin": "settings and schedules; grants the others",
}


@click.group()
def roles() -> None:
    """Roles of the database, for those who do not want every process to be the owner."""


@roles.command(
    epilog="""
\b
Example:
  pgqueue roles create
  psql -c 'GRANT pgqueue_enqueuer TO shop; GRANT pgqueue_worker TO jobs'
\b
From then on enqueueing and the verbs need membership: before, whoever
had the right to use the schema could call them. A role whose handlers
finish their jobs transactionally is a member of the worker role.
"""
)
@click.option(
    "--prefix", type=Name(50), default="pgqueue_", show_default=True, help="How the names begin."
)
@json_option
def create(prefix: str, as_json: bool) -> None:
    """Make the roles that are missing, and give all of them what they are for.

    Run it as the owner of the schema, with the right to create roles; again after each migration.
    The roles cannot log in: grant them to roles that do.
    """
    made = perform(create_roles(prefix))
    if as_json:
        print_json({"roles": made.names, "owner": made.owner})
        return
    for name in made.names:
        click.echo(f"{name}: {_FOR[name.removeprefix(prefix)]}")
    if made.owner_is_superuser:
        tell(
            f"the schema belongs to {made.owner}, a superuser, and what these roles call runs as "
            "its owner; give it to a role of its own: ALTER SCHEMA and its objects OWNER TO ..."
        )
