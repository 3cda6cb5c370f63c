"""What can go wrong with an embedded server."""

from pgqueue.errors import PgqueueError


class EmbeddedPostgresError(PgqueueError):
    """A server of one's own could not be found, started or used. Says what to do."""
