-- Keep what running jobs logged. Fenced by (id, attempt, worker_id) like a finish, by reading, like
-- write_progress.sql. Nothing is unique: a line that is written twice, because the answer to its COMMIT
-- was lost, must not make a handler's own transaction wait or fail; list_lines.sql shows it once.
-- By jobs_pkey.
INSERT INTO pgqueue.job_logs (job_id, attempt, n, at, expires_on, level, message, fields)
SELECT
    given.id, given.attempt, given.n,
    clock_timestamp() - given.age_us * interval '1 microsecond', pgqueue.attempt_expiry(),
    given.level, given.message, given.fields::json
FROM unnest(
    %(ids)s::bigint[], %(attempts)s::bigint[], %(numbers)s::bigint[], %(ages_us)s::bigint[],
    %(levels)s::text[], %(messages)s::text[], %(fields)s::text[]
) AS given (id, attempt, n, age_us, level, message, fields)
CROSS JOIN LATERAL (
    SELECT FROM pgqueue.jobs
    WHERE id = given.id AND attempt = given.attempt
        AND worker_id = %(worker_id)s::uuid AND state = 'running'
) AS job
RETURNING job_id
