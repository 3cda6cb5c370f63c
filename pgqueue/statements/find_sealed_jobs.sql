-- Of the next jobs in order of id, find those of which something is encrypted: arguments, the error
-- of a dead one, what it says of its progress. By primary key, a bounded number of rows a look.
-- Returns at least one row: how many were looked at, the id where that ended, and a job or NULLs.
WITH looked AS MATERIALIZED (
    SELECT job.id, job.task, job.args::text AS args, job.error,
        said.detail::text AS detail, said.checkpoint::text AS checkpoint
    FROM (
        SELECT id, task, args, error FROM pgqueue.jobs
        WHERE id > %(after)s::bigint
        ORDER BY id
        LIMIT %(limit)s::bigint
    ) AS job
    LEFT JOIN pgqueue.progress AS said ON said.job_id = job.id
)
SELECT seen.size, seen.last, sealed.id, sealed.task, sealed.args, sealed.error, sealed.detail,
    sealed.checkpoint
FROM (SELECT count(*) AS size, max(id) AS last FROM looked) AS seen
LEFT JOIN looked AS sealed ON starts_with(sealed.args, '{"$encrypted":')
    OR starts_with(sealed.error, '{"$encrypted":') OR starts_with(sealed.detail, '{"$encrypted":')
    OR starts_with(sealed.checkpoint, '{"$encrypted":')
ORDER BY sealed.id
