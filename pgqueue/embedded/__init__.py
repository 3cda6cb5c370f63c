"""A PostgreSQL server of one's own, for demos, development and tests. Needs no setting up."""

from pgqueue.embedded.errors import EmbeddedPostgresError
from pgqueue.embedded.server import EmbeddedPostgres, default_directory, exit_on_sigterm

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError", "default_directory", "exit_on_sigterm"]
