-- How far are the newest batches?
--   psql -f sql/batches.sql
SELECT id, name, percent, total, pending, succeeded, failed, cancelled, created_at, completed_at
FROM pgqueue.batch_stats
ORDER BY id DESC
LIMIT 50;
