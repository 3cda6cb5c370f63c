-- What people did to one job, oldest first. Served by audit_job.
SELECT at, actor, verb, reason, detail::text
FROM (
    SELECT *
    FROM pgqueue.audit
    WHERE job_id = %(id)s::bigint
    ORDER BY id DESC
    LIMIT %(limit)s::bigint
) AS latest
ORDER BY id
