-- What did an actor cause in the last day, and who touched it: jobs made, attempts, ends, verbs?
--   psql -v actor=123 -f sql/actor.sql
SELECT at, action, job_id, task, queue, attempt, done_by, db_user, reason
FROM pgqueue.audit_trail
WHERE actor = :'actor' AND at >= now() - interval '1 day'
ORDER BY at;
