-- The same as rewrap_jobs.sql, for what running jobs have said. Returns the ids that were written.
WITH held AS MATERIALIZED (
    SELECT said.job_id, new.detail, new.checkpoint
    FROM unnest(
        %(ids)s::bigint[], %(old_details)s::text[], %(details)s::text[],
        %(old_checkpoints)s::text[], %(checkpoints)s::text[]
    ) AS new (id, old_detail, detail, old_checkpoint, checkpoint)
    CROSS JOIN LATERAL (
        SELECT job_id FROM pgqueue.progress
        WHERE job_id = new.id AND detail::text IS NOT DISTINCT FROM new.old_detail
            AND checkpoint::text IS NOT DISTINCT FROM new.old_checkpoint
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS said
    ORDER BY said.job_id
)
UPDATE pgqueue.progress AS said
SET detail = held.detail::json, checkpoint = held.checkpoint::json
FROM held
WHERE said.job_id = held.job_id
RETURNING said.job_id
