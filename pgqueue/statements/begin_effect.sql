-- Write down that something outside is about to be done, unless it has been; say what is known of it.
--
-- Fenced by reading the job's row: a handler's own transaction may have it locked, and it is never
-- waited for. A rescue that comes in between does no harm: whoever runs the job next finds the row.
-- The row of a call that is over is taken over by naming it (over), so that of two who do so one
-- comes too late; the same call again, after an answer that was lost, is as good as the first.
-- By effects_pkey and jobs_pkey, one probe each.
WITH mine AS MATERIALIZED (
    SELECT id FROM pgqueue.jobs
    WHERE id = %(id)s::bigint AND attempt = %(attempt)s::bigint
        AND worker_id = %(worker_id)s::uuid AND state = 'running'
), known AS MATERIALIZED (
    SELECT
        effect.state, effect.call, effect.job_id, effect.attempt,
        pgqueue.attempt_runs(effect.job_id, effect.attempt) AS runs
    FROM pgqueue.effects AS effect
    WHERE effect.task = %(task)s::text AND effect.key = %(key)s::text
        AND (effect.expires_at IS NULL OR effect.expires_at > now())
), begun AS (
    INSERT INTO pgqueue.effects AS effect (
        task, key, call, job_id, attempt, worker_id, started_at, done_at, keep, expires_at
    )
    SELECT
        %(task)s::text, %(key)s::text, %(call)s::uuid, mine.id, %(attempt)s::bigint,
        %(worker_id)s::uuid, moment.present, CASE WHEN %(happened)s::boolean THEN moment.present END,
        moment.keep,
        CASE WHEN %(happened)s::boolean THEN moment.present + moment.keep END
    FROM mine
    CROSS JOIN (
        SELECT clock_timestamp() AS present,
            %(keep_ms)s::bigint * interval '1 millisecond' AS keep
    ) AS moment
    WHERE %(over)s::uuid IS NULL OR EXISTS (SELECT FROM known)
    ON CONFLICT (task, key) DO UPDATE SET
        call = excluded.call, job_id = excluded.job_id, attempt = excluded.attempt,
        worker_id = excluded.worker_id, started_at = excluded.started_at, done_at = excluded.done_at,
        keep = excluded.keep, expires_at = excluded.expires_at
    WHERE effect.expires_at <= now()
        OR (effect.done_at IS NULL AND effect.call IN (%(over)s::uuid, excluded.call))
    RETURNING 1
)
SELECT
    EXISTS (SELECT FROM mine), EXISTS (SELECT FROM begun),
    known.state, known.call::text, known.job_id, known.attempt, known.runs
FROM (VALUES (true)) AS answer (given)
LEFT JOIN known ON true
