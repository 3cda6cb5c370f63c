-- The revision the schema is at.
SELECT version_num FROM pgqueue.alembic_version WHERE version_num LIKE 'pgqueue_%%'
