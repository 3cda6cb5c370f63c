-- Forget workers that were not heard of for a day. Their jobs were rescued by their leases long ago:
-- no job depends on this row. Returns how many.
WITH silent AS MATERIALIZED (
    SELECT id FROM pgqueue.workers WHERE seen_at < now() - interval '1 day'
    ORDER BY id
    FOR UPDATE SKIP LOCKED
), pruned AS (
    DELETE FROM pgqueue.workers AS worker USING silent WHERE worker.id = silent.id RETURNING 1
)
SELECT count(*) FROM pruned
