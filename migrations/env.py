"""Runs the revisions in ``versions/`` for pgqueue.migrate, which brings connection and lock.

A host application that lists ``versions/`` in its own Alembic never comes here: the revisions
stand on their own.
"""

from alembic import context

attributes = context.config.attributes
place = {"version_table": "alembic_version", "version_table_schema": "pgqueue"}

if context.is_offline_mode():
    context.configure(dialect_name="postgresql", literal_binds=True, **place)
    with context.begin_transaction():
        for statement in attributes["before"]:
            context.execute(statement)
        context.run_migrations()
else:
    context.configure(connection=attributes["connection"], **place)
    context.run_migrations()
