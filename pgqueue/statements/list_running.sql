-- A page of the jobs that run now, newest first. Served by jobs_lease, which has no others: as many
-- as all workers have slots, so that they can be looked through.
-- Returns the columns of list_jobs.sql, at least one row.
SELECT
    clock_timestamp(), 0::bigint, NULL::bigint, NULL::timestamptz,
    job.id, job.state, job.queue, job.task, job.priority, job.failures, job.crashes,
    job.max_attempts, job.created_at, least(greatest(job.run_at, '0001-01-02'), '9999-12-30'),
    job.claimed_at, job.died_at, job.key, job.actor, job.reason, job.error_type,
    left(job.error, 300)
FROM (SELECT) AS always
LEFT JOIN (
    SELECT *
    FROM pgqueue.jobs
    WHERE lease_until IS NOT NULL AND id < %(before)s::bigint
        AND (%(queue)s::text IS NULL OR queue = %(queue)s::text)
        AND (%(task)s::text IS NULL OR task = %(task)s::text)
    ORDER BY id DESC
    LIMIT %(limit)s::bigint
) AS job ON true
ORDER BY job.id DESC
