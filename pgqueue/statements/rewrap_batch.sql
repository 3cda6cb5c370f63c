-- Give a batch the same callbacks, their data keys wrapped by another key; a batch that is being
-- closed just now is left for the next time. Returns its id if it was written.
UPDATE pgqueue.batches AS batch
SET on_success = %(on_success)s::json, on_complete = %(on_complete)s::json,
    on_failure = %(on_failure)s::json
FROM (
    SELECT id FROM pgqueue.batches WHERE id = %(id)s::bigint FOR NO KEY UPDATE SKIP LOCKED
) AS held
WHERE batch.id = held.id
RETURNING batch.id
