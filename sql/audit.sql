-- What did people do lately to jobs and queues: who, what, why, and what is the job now?
--   psql -f sql/audit.sql
SELECT at, actor, verb, job_id, queue, task, state_now, reason, detail
FROM pgqueue.audit_log
ORDER BY id DESC
LIMIT 100;
