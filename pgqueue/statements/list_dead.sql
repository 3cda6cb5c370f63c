-- A page of the dead letter, the latest death first: those among the next %(window)s that fit.
--
-- Walks jobs_dead backwards, with the id to tell apart those that died in one microsecond; looks at
-- a bounded number of rows, like list_jobs.sql, and returns the columns of that statement.
WITH looked AS MATERIALIZED (
    SELECT id, died_at, queue, task
    FROM pgqueue.jobs
    WHERE state = 'dead' AND died_at <= coalesce(%(before_at)s::timestamptz, 'infinity')
        AND (died_at, id) < (
            coalesce(%(before_at)s::timestamptz, 'infinity'), %(before)s::bigint)
    ORDER BY died_at DESC, id DESC
    LIMIT %(window)s::bigint
), found AS MATERIALIZED (
    SELECT id
    FROM looked
    WHERE (%(queue)s::text IS NULL OR queue = %(queue)s::text)
        AND (%(task)s::text IS NULL OR task = %(task)s::text)
    ORDER BY died_at DESC, id DESC
    LIMIT %(limit)s::bigint
)
SELECT
    clock_timestamp(), look.size, look.ended, look.ended_at,
    job.id, job.state, job.queue, job.task, job.priority, job.failures, job.crashes,
    job.max_attempts, job.created_at, least(greatest(job.run_at, '0001-01-02'), '9999-12-30'),
    job.claimed_at, job.died_at, job.key, job.actor, job.reason, job.error_type,
    left(job.error, 300)
FROM (
    SELECT count(*) AS size, (array_agg(id ORDER BY died_at, id))[1] AS ended,
        min(died_at) AS ended_at
    FROM looked
) AS look
LEFT JOIN found ON true
LEFT JOIN pgqueue.jobs AS job ON job.id = found.id
ORDER BY job.died_at DESC, job.id DESC
