"""The durable queue: tables, wake-ups, enqueue, batches, history, and people's verbs.

Revision ID: pgqueue_0001
"""

from pathlib import Path

from alembic import op

revision = "pgqueue_0001"
down_revision = None
branch_labels = ("pgqueue",)
depends_on = None

PARTS = (
    "tables",
    "bell",
    "enqueue",
    "batches",
    "progress",
    "partitions",
    "verbs",
    "batch_verbs",
    "effects",
    "steering",
    "schedules",
    "schedule_verbs",
    "fetch",
    "clock",
    "rollups",
    "reconcile",
    "waiting",
    "views",
    "vitals",
    "stories",
    "alert_rules",
    "measures",
    "alerts",
    "audit",
    "roles",
)


def upgrade() -> None:
    for part in PARTS:
        _execute(f"{part}.sql")


def downgrade() -> None:
    _execute("drop.sql")


def _execute(name: str) -> None:
    """Send a file of SQL as it stands: without parameters neither ``%`` nor ``:name`` is one."""
    sql = (Path(__file__).parent / "pgqueue_0001" / name).read_text(encoding="utf-8")
    context = op.get_context()
    if context.as_sql:
        context.impl.static_output(sql)
    else:
        op.get_bind().connection.driver_connection.execute(sql)
