-- Write down a batch whose jobs are there already, in their transaction: nobody sees one without the
-- other. Returns its id.
INSERT INTO pgqueue.batches (
    id, name, actor, created_at, total, on_success, on_complete, on_failure
) VALUES (
    %(id)s::bigint, %(name)s::text, %(actor)s::text, clock_timestamp(), %(total)s::bigint,
    %(on_success)s::json, %(on_complete)s::json, %(on_failure)s::json
)
RETURNING id
