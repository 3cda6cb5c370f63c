-- What an actor caused, and who touched it, within a time: the first so many events, oldest first.
-- By jobs_actor, finished_jobs_actor, attempts_job and audit_job.
SELECT at, actor, action, job_id, task, queue, attempt, done_by, db_user, reason
FROM pgqueue.audit_trail
WHERE actor = %(actor)s::text AND at >= coalesce(%(since)s::timestamptz,
            now() - %(since_ago_ms)s::bigint * interval '1 millisecond', '-infinity')
    AND at < coalesce(%(until)s::timestamptz,
            now() - %(until_ago_ms)s::bigint * interval '1 millisecond', 'infinity')
    AND (%(by)s::text IS NULL OR done_by = %(by)s::text)
ORDER BY at, job_id, attempt
LIMIT %(limit)s::bigint
