-- How far one job has come, if it ever said. By the primary keys, and by finished_jobs_id of each
-- partition.
SELECT attempt, updated_at, done, total, percent::bigint, detail::text, checkpoint::text
FROM pgqueue.job_progress
WHERE job_id = %(id)s::bigint AND updated_at IS NOT NULL
