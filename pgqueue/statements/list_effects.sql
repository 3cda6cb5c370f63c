-- What handlers did outside, the latest first, or only what nobody knows the outcome of. Among those
-- that were started by effects_started; otherwise all are read and sorted.
SELECT task, key, CASE WHEN state = 'done' THEN 'done' WHEN runs THEN 'running' ELSE 'unknown' END,
    job_id, attempt, started_at, done_at, now()
FROM (
    SELECT *, state = 'started' AND pgqueue.attempt_runs(job_id, attempt) AS runs
    FROM pgqueue.effects
    WHERE NOT %(unknown)s::boolean OR state = 'started'
) AS effect
WHERE NOT %(unknown)s::boolean OR NOT runs
ORDER BY started_at DESC
LIMIT %(limit)s::bigint
