-- Renew what this worker holds, each job for as long as it wants, without ever waiting for a row: a
-- row that is locked is being finished, and does not need it. An id that does not come back is
-- unknown, not lost. Another attempt of the same worker's, whose claim was never answered, is not
-- renewed by this one's id. Goes by primary key, one probe an id.
WITH held AS MATERIALIZED (
    SELECT job.id, given.lease_ms
    FROM unnest(%(ids)s::bigint[], %(attempts)s::bigint[], %(leases_ms)s::bigint[])
        AS given (id, attempt, lease_ms)
    CROSS JOIN LATERAL (
        SELECT id FROM pgqueue.jobs
        WHERE id = given.id AND attempt = given.attempt
            AND worker_id = %(worker_id)s::uuid AND state = 'running'
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS job
)
UPDATE pgqueue.jobs AS job
SET lease_until = clock_timestamp() + held.lease_ms * interval '1 millisecond'
FROM held
WHERE job.id = held.id
RETURNING job.id, job.attempt, job.cancel_requested_at IS NOT NULL AS cancel_requested
