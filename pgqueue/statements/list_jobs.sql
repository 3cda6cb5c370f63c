-- A page of jobs, newest first: those among the next %(window)s that fit.
--
-- By id, backwards through the primary key of jobs and finished_jobs_id of each partition; of one
-- batch, through jobs_batch and finished_jobs_batch. No index serves every mixture of state, queue
-- and task, and a rare one could be a million rows away: so one statement looks at a bounded number
-- of rows, says where it stopped, and the caller asks again. The boolean parameters, and whether
-- there is a batch, switch a table off before it is looked at. run_at is the user's own, and may be
-- one that Python has no datetime for.
-- Returns at least one row: the clock, how many rows were looked at, the id and moment where that
-- ended (no moment here), and the columns of a job, or NULLs if none fits.
WITH looked AS MATERIALIZED (
    SELECT id, expires_on, state, queue, task
    FROM (
        (SELECT id, NULL::date AS expires_on, state, queue, task
         FROM pgqueue.jobs
         WHERE %(live)s::boolean AND %(batch_id)s::bigint IS NULL AND id < %(before)s::bigint
         ORDER BY id DESC
         LIMIT %(window)s::bigint)
        UNION ALL
        (SELECT id, expires_on, state, queue, task
         FROM pgqueue.finished_jobs
         WHERE %(finished)s::boolean AND %(batch_id)s::bigint IS NULL AND id < %(before)s::bigint
         ORDER BY id DESC
         LIMIT %(window)s::bigint)
        UNION ALL
        (SELECT id, NULL::date, state, queue, task
         FROM pgqueue.jobs
         WHERE %(live)s::boolean AND batch_id = %(batch_id)s::bigint AND id < %(before)s::bigint
         ORDER BY id DESC
         LIMIT %(window)s::bigint)
        UNION ALL
        (SELECT id, expires_on, state, queue, task
         FROM pgqueue.finished_jobs
         WHERE %(finished)s::boolean AND batch_id = %(batch_id)s::bigint
            AND id < %(before)s::bigint
         ORDER BY id DESC
         LIMIT %(window)s::bigint)
    ) AS newest
    ORDER BY id DESC
    LIMIT %(window)s::bigint
), found AS MATERIALIZED (
    SELECT id, expires_on
    FROM looked
    WHERE (%(state)s::text IS NULL OR state = %(state)s::text)
        AND (%(queue)s::text IS NULL OR queue = %(queue)s::text)
        AND (%(task)s::text IS NULL OR task = %(task)s::text)
    ORDER BY id DESC
    LIMIT %(limit)s::bigint
)
SELECT
    clock_timestamp(), look.size, look.ended, NULL::timestamptz,
    job.id, job.state, job.queue, job.task, job.priority, job.failures, job.crashes,
    job.max_attempts, job.created_at, least(greatest(job.run_at, '0001-01-02'), '9999-12-30'),
    job.started_at, job.finished_at, job.key, job.actor, job.reason, job.error_type,
    left(job.error, 300)
FROM (SELECT count(*) AS size, min(id) AS ended FROM looked) AS look
LEFT JOIN found ON true
LEFT JOIN LATERAL (
    SELECT id, state, queue, task, priority, failures, crashes, max_attempts, created_at, run_at,
        claimed_at AS started_at, died_at AS finished_at, key, actor, reason, error_type, error
    FROM pgqueue.jobs
    WHERE found.expires_on IS NULL AND id = found.id
    UNION ALL
    SELECT id, state, queue, task, priority, failures, crashes, max_attempts, created_at, run_at,
        started_at, finished_at, key, actor, reason, error_type, error
    FROM pgqueue.finished_jobs
    WHERE expires_on = found.expires_on AND id = found.id
) AS job ON true
ORDER BY job.id DESC
