-- G2: enqueue is atomic with the caller's transaction. Of every job there is the row that its
-- transaction wrote beside it, and of every such row the job; nothing is left of what was rolled
-- back. Jobs that pgqueue enqueues itself (ticks, callbacks) have no such row.
SELECT coalesce(marker.job_id, job.id) AS job_id, job.task,
    CASE WHEN job.id IS NULL THEN 'marker without job' ELSE 'job without marker' END AS what
FROM (SELECT job_id FROM chaos.marker) AS marker
FULL JOIN (
    SELECT id, task FROM pgqueue.all_jobs
    WHERE schedule_id IS NULL AND metadata -> 'pgqueue.batch_id' IS NULL
) AS job ON job.id = marker.job_id
WHERE marker.job_id IS NULL
    OR (job.id IS NULL AND NOT EXISTS (SELECT FROM pgqueue.all_jobs WHERE id = marker.job_id))
UNION ALL
SELECT rolled_back.job_id, job.task, 'job of a transaction that was rolled back'
FROM chaos.rolled_back JOIN pgqueue.all_jobs AS job ON job.id = rolled_back.job_id
