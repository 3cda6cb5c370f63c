"""With what a worker process ends, and its last words about why."""

import logging

import psycopg

from pgqueue.errors import PgqueueError
from pgqueue.storage.advice import explain, is_unconnected
from pgqueue.storage.connect import masked
from pgqueue.storage.sqlstate import Remedy, is_refusal, remedy
from pgqueue.worker.life import LifespanFailed

log = logging.getLogger("pgqueue.worker")

EXIT_OK = 0
EXIT_CONFIGURE = 3
EXIT_BUG = 70
EXIT_STUCK = 75


def condemn(error: BaseException, part: str, dsn: str) -> int:
    """Log why a worker must end because of *error* in one of its parts; return the exit code. *dsn*
    is named without its password."""
    if isinstance(error, LifespanFailed):
        log.critical("%s", error, exc_info=error.__cause__)
        return EXIT_BUG
    if (
        isinstance(error, PgqueueError)
        or remedy(error) is Remedy.CONFIGURE
        or is_refusal(error)
        or (isinstance(error, psycopg.Error) and is_unconnected(error))
    ):
        log.critical("%s: %s", part, sentence(error, dsn))
        return EXIT_CONFIGURE
    log.critical("%s: a bug; giving back what is held", part, exc_info=error)
    return EXIT_BUG


def sentence(error: BaseException, dsn: str) -> str:
    """What *error* says, and what to do about it."""
    if isinstance(error, psycopg.Error):
        return explain(error, masked(dsn))
    return str(error).strip()
