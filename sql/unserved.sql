-- Which waiting tasks does no living worker know? They wait, untouched, until one does.
--   psql -f sql/unserved.sql
SELECT queue, task, waiting, oldest_waits, reason
FROM pgqueue.unserved_tasks
ORDER BY oldest_waits DESC
LIMIT 50;
