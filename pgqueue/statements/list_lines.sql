-- The latest log lines of one job, oldest first, each once. Served by job_logs_line of each
-- partition.
SELECT attempt, n, at, level, message, fields
FROM (
    SELECT DISTINCT ON (attempt, n) attempt, n::bigint, at, level, message, fields::text
    FROM pgqueue.job_logs
    WHERE job_id = %(id)s::bigint
    ORDER BY attempt DESC, n DESC
    LIMIT %(limit)s::bigint
) AS latest
ORDER BY attempt, n
