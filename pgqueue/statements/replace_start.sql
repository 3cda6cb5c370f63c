-- Give the arguments of all jobs of a batch another beginning, the rest of the text as it is: what
-- was not known of a lazy iterable until its end. In the transaction that enqueued them, so nobody
-- has seen the old one. Served by jobs_batch. Returns how many.
WITH mended AS (
    UPDATE pgqueue.jobs
    SET args = (%(start)s::text || substr(args::text, length(%(old_start)s::text) + 1))::json
    WHERE batch_id = %(batch_id)s::bigint AND starts_with(args::text, %(old_start)s::text)
    RETURNING 1
)
SELECT count(*) FROM mended
