"""What can go wrong with a migration."""

from pgqueue.errors import PgqueueError


class MigrationError(PgqueueError):
    """The schema cannot be migrated as asked. Says why, and what to do."""


class MigrationBlocked(MigrationError):
    """Somebody held a lock for longer than we were ready to wait. Nothing was changed."""
