-- Forget what was done outside so long ago that nobody is to know any more. Served by
-- effects_expiring. Returns how many.
WITH over AS MATERIALIZED (
    SELECT task, key
    FROM pgqueue.effects
    WHERE expires_at < now()
    ORDER BY expires_at
    LIMIT %(limit)s::bigint
    FOR UPDATE SKIP LOCKED
), pruned AS (
    DELETE FROM pgqueue.effects AS effect USING over
    WHERE effect.task = over.task AND effect.key = over.key
    RETURNING 1
)
SELECT count(*) FROM pruned
