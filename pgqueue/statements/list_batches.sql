-- A page of batches, the newest first, all of them or those under way: the columns of
-- find_batches.sql. Backwards through the primary key, or through batches_open.
SELECT
    batch.id, batch.name, batch.actor, batch.created_at, batch.completed_at, batch.total,
    batch.succeeded + news.succeeded, batch.failed + news.failed,
    batch.cancelled + news.cancelled, batch.success_job_id, batch.complete_job_id,
    batch.failure_job_id, clock_timestamp()
FROM (
    (SELECT * FROM pgqueue.batches
     WHERE NOT %(is_open)s::boolean AND id < %(before)s::bigint
     ORDER BY id DESC
     LIMIT %(limit)s::bigint)
    UNION ALL
    (SELECT * FROM pgqueue.batches
     WHERE %(is_open)s::boolean AND completed_at IS NULL AND id < %(before)s::bigint
     ORDER BY id DESC
     LIMIT %(limit)s::bigint)
) AS batch
CROSS JOIN LATERAL (
    SELECT coalesce(sum(succeeded), 0)::bigint AS succeeded,
        coalesce(sum(failed), 0)::bigint AS failed, coalesce(sum(cancelled), 0)::bigint AS cancelled
    FROM pgqueue.batch_outcomes
    WHERE batch_id = batch.id
) AS news
ORDER BY batch.id DESC
