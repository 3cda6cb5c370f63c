-- The tracebacks of the latest attempts of one job. Served by attempts_job of each partition.
SELECT attempt, traceback
FROM pgqueue.attempts
WHERE job_id = %(id)s::bigint
ORDER BY attempt DESC
LIMIT %(limit)s::bigint
