-- What happened to one job within a time, and who did it: like list_trail_of_actor.sql. By primary
-- key, finished_jobs_id, attempts_job and audit_job.
SELECT at, actor, action, job_id, task, queue, attempt, done_by, db_user, reason
FROM pgqueue.audit_trail
WHERE job_id = %(job_id)s::bigint
    AND at >= coalesce(%(since)s::timestamptz,
            now() - %(since_ago_ms)s::bigint * interval '1 millisecond', '-infinity')
    AND at < coalesce(%(until)s::timestamptz,
            now() - %(until_ago_ms)s::bigint * interval '1 millisecond', 'infinity')
    AND (%(actor)s::text IS NULL OR actor = %(actor)s::text)
    AND (%(by)s::text IS NULL OR done_by = %(by)s::text)
ORDER BY at, job_id, attempt
LIMIT %(limit)s::bigint
