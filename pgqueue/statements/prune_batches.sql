-- Forget batches that were over for 30 days, unless jobs of them wait as dead, or run again. Served by
-- batches_completed and jobs_batch. Returns how many.
WITH over AS MATERIALIZED (
    SELECT id
    FROM pgqueue.batches AS batch
    WHERE completed_at < now() - interval '30 days'
        AND NOT EXISTS (SELECT FROM pgqueue.jobs WHERE batch_id = batch.id)
    ORDER BY completed_at
    LIMIT %(limit)s::bigint
    FOR UPDATE SKIP LOCKED
), pruned AS (
    DELETE FROM pgqueue.batches AS batch USING over WHERE batch.id = over.id RETURNING 1
)
SELECT count(*) FROM pruned
