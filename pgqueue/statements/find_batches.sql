-- How batches stand, by id: what is folded into each and what is not folded yet, in one snapshot, so
-- that a job counts once. By primary key, and batch_outcomes_batch.
-- Returns a row a batch that there is, and the clock.
SELECT
    batch.id, batch.name, batch.actor, batch.created_at, batch.completed_at, batch.total,
    batch.succeeded + news.succeeded, batch.failed + news.failed,
    batch.cancelled + news.cancelled, batch.success_job_id, batch.complete_job_id,
    batch.failure_job_id, clock_timestamp()
FROM pgqueue.batches AS batch
CROSS JOIN LATERAL (
    SELECT coalesce(sum(succeeded), 0)::bigint AS succeeded,
        coalesce(sum(failed), 0)::bigint AS failed, coalesce(sum(cancelled), 0)::bigint AS cancelled
    FROM pgqueue.batch_outcomes
    WHERE batch_id = batch.id
) AS news
WHERE batch.id = ANY(%(ids)s::bigint[])
ORDER BY batch.id
