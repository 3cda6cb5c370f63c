-- Write how far running jobs have come, and where a later attempt may resume.
--
-- Fenced by (id, attempt, worker_id) like a finish, but by reading: the job's row may be locked for
-- as long as its handler's own transaction lasts, and is never waited for. What a rescue changes
-- meanwhile does no harm: the word of a later attempt stands. By jobs_pkey, one probe an id; in
-- order, so that no two writers can deadlock; in place (HOT), for no index has what changes. What was
-- not said (NULL) stays as it was.
WITH said AS MATERIALIZED (
    SELECT given.*
    FROM unnest(
        %(ids)s::bigint[], %(attempts)s::bigint[], %(dones)s::float8[], %(totals)s::float8[],
        %(details)s::text[], %(checkpoints)s::text[]
    ) AS given (id, attempt, done, total, detail, checkpoint)
    CROSS JOIN LATERAL (
        SELECT FROM pgqueue.jobs
        WHERE id = given.id AND attempt = given.attempt
            AND worker_id = %(worker_id)s::uuid AND state = 'running'
    ) AS job
    ORDER BY given.id
)
INSERT INTO pgqueue.progress AS known (
    job_id, attempt, updated_at, done, total, detail, checkpoint
)
SELECT id, attempt, clock_timestamp(), done, total, detail::json, checkpoint::json
FROM said
ON CONFLICT (job_id) DO UPDATE SET
    attempt = excluded.attempt, updated_at = excluded.updated_at,
    done = coalesce(excluded.done, known.done), total = coalesce(excluded.total, known.total),
    detail = coalesce(excluded.detail, known.detail),
    checkpoint = coalesce(excluded.checkpoint, known.checkpoint)
WHERE known.attempt <= excluded.attempt
RETURNING job_id
