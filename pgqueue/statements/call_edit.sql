-- The verb "edit" for one job; the function locks, judges and audits.
-- Returns the id, and the function's answer.
SELECT %(id)s::bigint,
    pgqueue.edit(%(id)s::bigint, %(args)s::json, %(actor)s::text, %(reason)s::text)
