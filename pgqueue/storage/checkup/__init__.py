"""What is not broken yet, and what a person may do about it. Reads only, each check bounded.

A check is three things: its question, ``statements/check_<name>.sql``; its judge, a function of the
rows, in the module of its group; and its line here, in the order in which people read it.
"""

from pgqueue.storage.checkup import rights, server, tables, work
from pgqueue.storage.checkup.check import Check

CHECKS: tuple[Check, ...] = (
    server.schema,
    server.home,
    server.version,
    server.durability,
    server.connections,
    server.timeouts,
    server.slow_settings,
    server.notifications,
    server.clock,
    server.tls,
    server.pooler,
    tables.horizon,
    tables.dead_rows,
    tables.vacuum_settings,
    tables.table_settings,
    tables.statistics,
    tables.wraparound,
    tables.indexes,
    tables.claim_plan,
    tables.partitions,
    rights.roles,
    rights.membership,
    work.overdue_leases,
    work.dead_workers,
    work.unserved_tasks,
    work.unknown_queues,
    work.slow_tasks,
    work.unfit_arguments,
    work.missing_keys,
)
