-- Bury waiting jobs whose "do not start after" has passed. Claims pass over them already; this takes
-- them out of the claims' way and into the dead letter. Served by jobs_expiring, and in its order:
-- see rescue_jobs.sql.
-- Returns how many.
WITH late AS MATERIALIZED (
    SELECT id
    FROM pgqueue.jobs
    WHERE expires_at <= now() AND state = 'available'
        AND expires_at >= coalesce(now() - %(within_s)s::float8 * interval '1 second', '-infinity')
    ORDER BY expires_at
    LIMIT %(limit)s::bigint
    FOR NO KEY UPDATE SKIP LOCKED
), buried AS (
    UPDATE pgqueue.jobs AS job
    SET state = 'dead', reason = 'expired', died_at = clock_timestamp(),
        error_type = 'Expired', error = 'not started before ' || job.expires_at,
        history = pgqueue.last_attempts(job.id, NULL, NULL, NULL, NULL, NULL)
    FROM late
    WHERE job.id = late.id
    RETURNING job.queue, job.task
), told AS (
    INSERT INTO pgqueue.tallies (at, queue, task, dead)
    SELECT date_trunc('minute', clock_timestamp(), 'UTC'), queue, task, count(*)
    FROM buried
    GROUP BY queue, task
)
SELECT count(*) FROM buried
