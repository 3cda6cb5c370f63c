-- Forget the progress of jobs that are over: of the next so many rows in the order of their jobs,
-- those whose job is gone and said nothing for an hour, so that whoever watched it can look once
-- more. By primary key, a window at a time, for the jobs that are dead and kept would else be
-- walked over again and again. Returns how many went, how many were looked at, and the last of these.
WITH looked_at AS MATERIALIZED (
    SELECT job_id
    FROM pgqueue.progress
    WHERE job_id > %(after)s::bigint
    ORDER BY job_id
    LIMIT %(limit)s::bigint
), over AS MATERIALIZED (
    SELECT orphan.job_id
    FROM looked_at
    CROSS JOIN LATERAL (
        SELECT job_id
        FROM pgqueue.progress
        WHERE job_id = looked_at.job_id AND updated_at < now() - interval '1 hour'
            AND NOT EXISTS (SELECT FROM pgqueue.jobs WHERE id = looked_at.job_id)
        FOR UPDATE SKIP LOCKED
    ) AS orphan
), pruned AS (
    DELETE FROM pgqueue.progress AS known USING over WHERE known.job_id = over.job_id RETURNING 1
)
SELECT (SELECT count(*) FROM pruned), count(*), max(job_id) FROM looked_at
