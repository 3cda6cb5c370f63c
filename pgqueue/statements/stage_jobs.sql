-- Make due jobs available. Served by jobs_scheduled: future jobs are never looked at by a claim.
-- Returns how many were staged, and in how many milliseconds the next one is due (NULL: none known).
WITH due AS MATERIALIZED (
    SELECT id
    FROM pgqueue.jobs
    WHERE state = 'scheduled' AND run_at <= now()
        AND run_at >= coalesce(now() - %(within_s)s::float8 * interval '1 second', '-infinity')
    ORDER BY run_at
    LIMIT %(limit)s::bigint
    FOR NO KEY UPDATE SKIP LOCKED
), staged AS (
    UPDATE pgqueue.jobs AS job SET state = 'available'
    FROM due
    WHERE job.id = due.id
    RETURNING job.queue
)
SELECT
    (SELECT count(*) FROM staged) AS staged,
    (SELECT (extract(epoch FROM min(run_at) - clock_timestamp()) * 1000)::bigint
     FROM pgqueue.jobs WHERE state = 'scheduled' AND run_at > now()) AS next_in_ms,
    (SELECT count(pgqueue.ring(queue))
     FROM (SELECT DISTINCT queue FROM staged) AS woken) AS rung
