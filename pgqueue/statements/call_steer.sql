-- A verb on the next jobs that a filter fits; the function looks, locks, judges and audits.
-- Returns one row: how many were done, how many were so already, how many are in which state that
-- forbids it, the ids of those that were locked, how many fitted, and the id to go on after.
SELECT done, unchanged, refused::text, to_json(busy)::text, fitted, next_after
FROM pgqueue.steer(
    %(verb)s::text, %(filter)s::json, %(setting)s::text, %(actor)s::text, %(reason)s::text,
    %(after_id)s::bigint, %(up_to)s::bigint, %(at_most)s::bigint
)
