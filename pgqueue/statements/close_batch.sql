-- Close one batch now: one that has no jobs has nothing to wait for.
-- Returns whether nothing is left to run.
SELECT pgqueue.close_batch(%(id)s::bigint)
