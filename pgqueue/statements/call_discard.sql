-- The verb "discard" for jobs in the order given; the function locks, judges and audits.
-- Returns the id, and the function's answer, a row a job.
SELECT id, pgqueue.discard(id, %(actor)s::text, %(reason)s::text)
FROM unnest(%(ids)s::bigint[]) WITH ORDINALITY AS given (id, n)
ORDER BY n
