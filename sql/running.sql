-- What is running, where, since when, how far, and until when does its lease stand unless renewed?
--   psql -f sql/running.sql
SELECT
    id, queue, task, attempt, run, max_attempts, claimed_for, lease_left, percent, detail, host, pid,
    cancel_requested_at
FROM pgqueue.running_jobs
ORDER BY claimed_at
LIMIT 200;
