-- Forget rollups that have grown old: minutes after 48 hours, hours after 30 days, days after 2
-- years. Served by the primary key, whose head they are. Returns how many.
WITH old AS MATERIALIZED (
    SELECT forgotten.span, forgotten.at, forgotten.queue, forgotten.task
    FROM (VALUES
        ('minute', interval '48 hours'), ('hour', interval '30 days'), ('day', interval '2 years')
    ) AS kept (span, age)
    CROSS JOIN LATERAL (
        SELECT * FROM pgqueue.rollups
        WHERE span = kept.span AND at < now() - kept.age
        ORDER BY at
        LIMIT %(limit)s::bigint
        FOR UPDATE SKIP LOCKED
    ) AS forgotten
), pruned AS (
    DELETE FROM pgqueue.rollups AS rollup USING old
    WHERE rollup.span = old.span AND rollup.at = old.at AND rollup.queue = old.queue
        AND rollup.task = old.task
    RETURNING 1
)
SELECT count(*) FROM pruned
