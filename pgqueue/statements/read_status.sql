-- What has become of these jobs? In one statement, and so in one snapshot: a job that finishes
-- meanwhile is in one of the tables. By primary key; history, by finished_jobs_id, is asked only for
-- what is not alive, and no further than to the partition that has it.
-- An id without a row was not committed, was rolled back, or is not kept any more.
SELECT
    wanted.id,
    coalesce(live.state, past.state),
    coalesce(live.task, past.task),
    coalesce(live.queue, past.queue),
    coalesce(live.attempt, past.attempt),
    coalesce(live.failures, past.failures),
    coalesce(live.max_attempts, past.max_attempts),
    progress.done, progress.total, progress.detail::text, past.result::text,
    coalesce(live.reason, past.reason),
    coalesce(live.error_type, past.error_type),
    coalesce(live.error, past.error)
FROM unnest(%(ids)s::bigint[]) AS wanted (id)
LEFT JOIN pgqueue.jobs AS live ON live.id = wanted.id
LEFT JOIN LATERAL (
    SELECT state, task, queue, attempt, failures, max_attempts, result, reason, error_type, error
    FROM pgqueue.finished_jobs
    WHERE id = wanted.id AND live.id IS NULL
    LIMIT 1
) AS past ON true
LEFT JOIN pgqueue.progress AS progress ON progress.job_id = wanted.id
WHERE live.id IS NOT NULL OR past.state IS NOT NULL
