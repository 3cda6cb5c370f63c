-- The verb "unschedule" for a schedule, by its name; the function judges and audits.
SELECT pgqueue.unschedule(%(name)s::text, %(actor)s::text, %(reason)s::text)
