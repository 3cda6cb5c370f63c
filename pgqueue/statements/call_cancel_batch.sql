-- The verb "cancel" for up to %(limit)s jobs of a batch; the function locks, judges and audits.
-- Returns how many were cancelled, asked to stop, and busy, and the id to go on after.
SELECT cancelled, requested, busy, next_after
FROM pgqueue.cancel_batch(
    %(id)s::bigint, %(actor)s::text, %(reason)s::text, %(after_id)s::bigint, %(limit)s::bigint)
