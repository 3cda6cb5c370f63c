-- What is known about one job, but for what it holds (show_payload.sql), from both tables in one
-- snapshot: a job that finishes meanwhile is in one of them. By primary key, and by finished_jobs_id
-- of each partition.
-- Some moments are the user's own, and may be ones that Python has no datetime for.
SELECT
    clock_timestamp(),
    job.id, job.state, job.queue, job.task, job.priority, job.failures, job.crashes,
    job.max_attempts, job.created_at, least(greatest(job.run_at, '0001-01-02'), '9999-12-30'),
    job.started_at, job.finished_at, job.key, job.actor, job.reason, job.error_type, job.error,
    job.max_crashes, job.attempt, job.worker_id::text, worker.host, worker.pid::bigint,
    CASE WHEN job.expires_at IS NOT NULL
        THEN least(greatest(job.expires_at, '0001-01-02'), '9999-12-30') END,
    job.lease_until, job.cancel_requested_at,
    extract(epoch FROM job.timeout)::float8, extract(epoch FROM job.keep)::float8,
    extract(epoch FROM job.keep_cancelled)::float8, extract(epoch FROM job.keep_dead)::float8,
    job.batch_id, job.on_dead_task, job.fingerprint
FROM (
    SELECT id, state, queue, task, priority, failures, crashes, max_attempts, created_at, run_at,
        claimed_at AS started_at, died_at AS finished_at, key, actor, reason, error_type, error,
        max_crashes, attempt, worker_id, expires_at, lease_until, cancel_requested_at, timeout,
        keep, keep_cancelled, keep_dead, batch_id, on_dead_task, fingerprint
    FROM pgqueue.jobs
    WHERE id = %(id)s::bigint
    UNION ALL
    SELECT id, state, queue, task, priority, failures, crashes, max_attempts, created_at, run_at,
        started_at, finished_at, key, actor, reason, error_type, error,
        NULL, attempt, worker_id, NULL, NULL, NULL, NULL,
        NULL, NULL, NULL, batch_id, NULL, fingerprint
    FROM pgqueue.finished_jobs
    WHERE id = %(id)s::bigint
) AS job
LEFT JOIN pgqueue.workers AS worker ON worker.id = job.worker_id
