-- Which waiting tasks does no live worker know? They wait, untouched, until one does.
--   psql -f sql/unserved.sql
SELECT job.task, job.queue, count(*) AS waiting, min(job.run_at) AS since
FROM pgqueue.jobs AS job
WHERE job.state = 'available'
    AND NOT EXISTS (
        SELECT FROM pgqueue.workers AS worker
        WHERE worker.seen_at > clock_timestamp() - interval '2 minutes'
            AND job.task = ANY(worker.tasks) AND worker.queues::jsonb ? job.queue
    )
GROUP BY job.task, job.queue
ORDER BY waiting DESC
LIMIT 50;
