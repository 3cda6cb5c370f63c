"""What ``pgqueue worker`` runs: one worker process, or several under this one."""

import psycopg

from pgqueue.metrics import require_client
from pgqueue.storage.connect import connect
from pgqueue.storage.sqlstate import Remedy, is_refusal, remedy
from pgqueue.worker.loading import load_tasks
from pgqueue.worker.running import run_one
from pgqueue.worker.settings import Settings
from pgqueue.worker.supervisor import supervise


def run(
    tasks_path: str, dsn: str, settings: Settings, *, processes: int = 1, reload: bool = False
) -> int:
    """Run a worker, or *processes* of them under this one; return the exit code.

    0 after a SIGTERM or SIGINT · 3: a person must mend configuration, schema or grants · 70: a bug
    · 75: a handler is stuck, start me again. A second signal stops at once. Raises
    :class:`PgqueueError` if the tasks cannot be loaded, and what psycopg raises for a DSN that no
    waiting makes right, if several parts would otherwise each complain of it."""
    if settings.metrics_port is not None:
        require_client()
    if processes > 1 or reload:
        load_tasks(tasks_path)  # a wrong path is an error here, not in every child
        _knock(dsn)
        return supervise(tasks_path, dsn, settings, processes=processes, reload=reload)
    return run_one(tasks_path, dsn, settings)


def _knock(dsn: str) -> None:
    """Raise for a wrong password and the like; a server that is not there yet is waited for."""
    try:
        connect(dsn, "worker").close()
    except (psycopg.Error, OSError) as error:
        if remedy(error) is not Remedy.RECONNECT or is_refusal(error):
            raise
