-- Some live jobs as lines of a list, in order of id: the columns of list_jobs.sql behind the clock.
-- By primary key.
SELECT
    clock_timestamp(),
    job.id, job.state, job.queue, job.task, job.priority, job.failures, job.crashes,
    job.max_attempts, job.created_at, least(greatest(job.run_at, '0001-01-02'), '9999-12-30'),
    job.claimed_at, job.died_at, job.key, job.actor, job.reason, job.error_type,
    left(job.error, 300)
FROM pgqueue.jobs AS job
WHERE job.id = ANY(%(ids)s::bigint[])
ORDER BY job.id
