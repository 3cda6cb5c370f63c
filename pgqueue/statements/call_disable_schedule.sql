-- The verb "disable_schedule" for a schedule, by its name; the function judges and audits.
SELECT pgqueue.disable_schedule(%(name)s::text, %(actor)s::text, %(reason)s::text)
