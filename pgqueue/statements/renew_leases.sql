-- Renew what this worker holds, without ever waiting for a row: a row that is locked is being
-- finished, and does not need it. An id that does not come back is unknown, not lost.
UPDATE pgqueue.jobs AS job
SET lease_until = clock_timestamp() + %(lease_ms)s::bigint * interval '1 millisecond'
FROM (
    SELECT id FROM pgqueue.jobs
    WHERE id = ANY(%(ids)s::bigint[]) AND worker_id = %(worker_id)s::uuid AND state = 'running'
    ORDER BY id
    FOR NO KEY UPDATE SKIP LOCKED
) AS held
WHERE job.id = held.id
RETURNING job.id, job.attempt, job.cancel_requested_at IS NOT NULL AS cancel_requested
