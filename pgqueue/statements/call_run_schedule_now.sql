-- The verb "run now" for a schedule, by its name; the function enqueues and audits.
-- Returns the job's id; NULL if there is no such schedule.
SELECT pgqueue.run_schedule_now(%(name)s::text, %(actor)s::text, %(reason)s::text)
