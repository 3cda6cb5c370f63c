-- The verb "retry" for up to %(limit)s dead jobs of a batch; the function locks, judges and audits.
-- Returns how many will run again, how many were busy, and the id to go on after.
SELECT retried, busy, next_after
FROM pgqueue.retry_batch(
    %(id)s::bigint, %(actor)s::text, %(reason)s::text, %(after_id)s::bigint, %(limit)s::bigint)
