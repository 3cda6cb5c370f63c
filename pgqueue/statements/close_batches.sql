-- Close batches whose last job is over. The function goes from one to the next by
-- batch_outcomes_batch, and does each by primary key.
-- Returns each that was looked at, whether nothing is left to run in it (NULL: another closer has
-- it), and what went wrong.
SELECT batch_id, is_over, problem
FROM pgqueue.close_batches(%(after_id)s::bigint, %(limit)s::bigint)
