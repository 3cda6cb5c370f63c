-- A batch counts each of its jobs once, and is told to be over once, when they are.
SELECT batch.id, 'counts' AS what, counted.total AS found, batch.total
FROM pgqueue.batches AS batch
CROSS JOIN LATERAL (
    SELECT count(*) AS total,
        count(*) FILTER (WHERE state = 'succeeded') AS succeeded,
        count(*) FILTER (WHERE state IN ('dead', 'discarded')) AS failed,
        count(*) FILTER (WHERE state = 'cancelled') AS cancelled
    FROM pgqueue.all_jobs WHERE batch_id = batch.id
) AS counted
WHERE (batch.total, batch.succeeded, batch.failed, batch.cancelled)
        IS DISTINCT FROM (counted.total, counted.succeeded, counted.failed, counted.cancelled)
    OR batch.completed_at IS NULL
    OR (batch.on_complete IS NOT NULL AND batch.complete_job_id IS NULL)
UNION ALL
SELECT batch.id, 'callback without its batch, or twice', count(*), 1
FROM pgqueue.all_jobs AS job
LEFT JOIN pgqueue.batches AS batch
    ON batch.id = (job.metadata ->> 'pgqueue.batch_id')::bigint
WHERE job.metadata -> 'pgqueue.batch_id' IS NOT NULL
GROUP BY batch.id, job.task
HAVING count(*) > 1 OR batch.id IS NULL
