-- Make or change a schedule of the application's, in the caller's transaction; the function compares
-- and audits.
-- Returns its name, what became of it, and what was changed.
SELECT name, answer, changes::text
FROM pgqueue.schedule(%(definition)s::json, %(actor)s::text)
