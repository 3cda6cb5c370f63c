-- The verb "retry" for jobs in the order given, with new arguments unless they are NULL; the
-- function locks, judges and audits.
-- Returns the id, and the function's answer, a row a job.
SELECT id, pgqueue.retry(id, %(args)s::json, %(actor)s::text, %(reason)s::text)
FROM unnest(%(ids)s::bigint[]) WITH ORDINALITY AS given (id, n)
ORDER BY n
