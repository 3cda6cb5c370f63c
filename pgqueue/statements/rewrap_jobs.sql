-- Give jobs the same arguments and errors, their data keys wrapped by another key. Only where they
-- are still those that were read; a row that is being written just now is left for the next time.
-- Locked in order of id. By primary key. Returns the ids that were written.
WITH held AS MATERIALIZED (
    SELECT job.id, new.args, new.error
    FROM unnest(
        %(ids)s::bigint[], %(old_args)s::text[], %(args)s::text[], %(old_errors)s::text[],
        %(errors)s::text[]
    ) AS new (id, old_args, args, old_error, error)
    CROSS JOIN LATERAL (
        SELECT id FROM pgqueue.jobs
        WHERE id = new.id AND args::text = new.old_args AND error IS NOT DISTINCT FROM new.old_error
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS job
    ORDER BY job.id
)
UPDATE pgqueue.jobs AS job SET args = held.args::json, error = held.error
FROM held
WHERE job.id = held.id
RETURNING job.id
