-- The latest attempts of one job that did not succeed, oldest first, without what only some may see
-- (list_tracebacks.sql). Served by attempts_job of each partition.
SELECT attempt, outcome, started_at, ended_at, error_type, error, NULL::text, worker_id::text
FROM (
    SELECT attempt, outcome, started_at, ended_at, error_type, error, worker_id
    FROM pgqueue.attempts
    WHERE job_id = %(id)s::bigint
    ORDER BY attempt DESC
    LIMIT %(limit)s::bigint
) AS latest
ORDER BY attempt
