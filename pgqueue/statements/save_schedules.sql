-- Make or change schedules in the caller's transaction; the function compares and audits.
-- Returns name, what became of it, and what was changed, a row a schedule.
SELECT name, answer, changes::text
FROM pgqueue.save_schedules(%(definitions)s::json, %(actor)s::text)
