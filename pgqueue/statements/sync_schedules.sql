-- Write down the schedules that the code declares, under a lock: N workers starting at once are one.
-- Returns name, what became of it, and what was changed, a row a schedule.
SELECT name, answer, changes::text
FROM pgqueue.sync_schedules(%(definitions)s::json, %(prune)s::boolean, %(actor)s::text)
