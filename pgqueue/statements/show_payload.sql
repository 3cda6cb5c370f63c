-- What one job holds: its arguments, metadata, result, and the errors that it carries. From both
-- tables in one snapshot, by primary key and by finished_jobs_id of each partition.
SELECT args::text, metadata::text, result::text, history::text
FROM (
    SELECT args, metadata, NULL::json AS result, history
    FROM pgqueue.jobs
    WHERE id = %(id)s::bigint
    UNION ALL
    SELECT args, metadata, result, history
    FROM pgqueue.finished_jobs
    WHERE id = %(id)s::bigint
) AS job
