-- Write down that something outside has been done, or forget it, for it has not. Fenced by its call and,
-- unless it is to be said of an attempt that is over too, by the job's row. By effects_pkey and
-- jobs_pkey. Returns whether that was accepted.
WITH mine AS MATERIALIZED (
    SELECT FROM pgqueue.jobs
    WHERE id = %(id)s::bigint AND attempt = %(attempt)s::bigint
        AND worker_id = %(worker_id)s::uuid AND state = 'running'
), ended AS (
    UPDATE pgqueue.effects AS effect SET
        done_at = clock_timestamp(), expires_at = clock_timestamp() + effect.keep
    WHERE effect.task = %(task)s::text AND effect.key = %(key)s::text
        AND effect.call = %(call)s::uuid AND %(happened)s::boolean
        AND (%(anyway)s::boolean OR EXISTS (SELECT FROM mine))
    RETURNING 1
), gone AS (
    DELETE FROM pgqueue.effects AS effect
    WHERE effect.task = %(task)s::text AND effect.key = %(key)s::text
        AND effect.call = %(call)s::uuid AND NOT %(happened)s::boolean
        AND (%(anyway)s::boolean OR EXISTS (SELECT FROM mine))
    RETURNING 1
)
SELECT EXISTS (SELECT FROM ended) OR EXISTS (SELECT FROM gone)
