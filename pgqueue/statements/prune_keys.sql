-- Forget keys whose declared lifetime is over. Served by job_keys_expiring. Returns how many.
WITH over AS MATERIALIZED (
    SELECT scope, key
    FROM pgqueue.job_keys
    WHERE expires_at < now()
    ORDER BY expires_at
    LIMIT %(limit)s::bigint
    FOR UPDATE SKIP LOCKED
), pruned AS (
    DELETE FROM pgqueue.job_keys AS taken USING over
    WHERE taken.scope = over.scope AND taken.key = over.key
    RETURNING 1
)
SELECT count(*) FROM pruned
