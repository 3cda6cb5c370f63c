-- Is the schema installed?
SELECT to_regclass('pgqueue.alembic_version') IS NOT NULL, to_regclass('pgqueue.jobs') IS NOT NULL
