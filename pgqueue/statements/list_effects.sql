-- What handlers did outside, the latest first, or only what nobody knows the outcome of. By
-- effects_started backwards, or by effects_open.
SELECT task, key, CASE WHEN done_at IS NOT NULL THEN 'done' WHEN runs THEN 'running' ELSE 'unknown' END,
    job_id, attempt, started_at, done_at, now()
FROM (
    SELECT *, done_at IS NULL AND pgqueue.attempt_runs(job_id, attempt) AS runs
    FROM pgqueue.effects
    WHERE NOT %(unknown)s::boolean OR done_at IS NULL
) AS effect
WHERE NOT %(unknown)s::boolean OR NOT runs
ORDER BY started_at DESC
LIMIT %(limit)s::bigint
