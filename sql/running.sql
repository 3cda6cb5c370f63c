-- What is running, where, since when, how far, and until when its lease stands without a renewal?
--   psql -f sql/running.sql
SELECT
    job.id, job.queue, job.task, job.attempt,
    job.failures + 1 AS run, job.max_attempts,
    clock_timestamp() - job.claimed_at AS claimed_ago,
    job.lease_until - clock_timestamp() AS lease_left,
    worker.host, worker.pid,
    CASE WHEN progress.total > 0 THEN floor(progress.done / progress.total * 100) END AS percent,
    progress.detail,
    job.cancel_requested_at
FROM pgqueue.jobs AS job
LEFT JOIN pgqueue.workers AS worker ON worker.id = job.worker_id
LEFT JOIN pgqueue.progress AS progress ON progress.job_id = job.id
WHERE job.lease_until IS NOT NULL
ORDER BY job.claimed_at
LIMIT 200;
