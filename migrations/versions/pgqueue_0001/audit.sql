-- Who did what, and when. What people did is written down; the rest is derived from the jobs.

-- Nobody changes it, by mistake or otherwise: not even its owner, short of taking the triggers away.
CREATE FUNCTION pgqueue.refuse_change() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE insufficient_privilege USING MESSAGE = 'pgqueue.audit only grows: no ' || TG_OP;
END
$$;

CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE ON pgqueue.audit
FOR EACH ROW EXECUTE FUNCTION pgqueue.refuse_change();
CREATE TRIGGER audit_not_truncated BEFORE TRUNCATE ON pgqueue.audit
FOR EACH STATEMENT EXECUTE FUNCTION pgqueue.refuse_change();

-- Whom jobs run for, and what a person did. Jobs without an actor are not in them.
CREATE INDEX jobs_actor ON pgqueue.jobs (actor, created_at) WHERE actor IS NOT NULL;
CREATE INDEX finished_jobs_actor ON pgqueue.finished_jobs (actor, created_at)
    WHERE actor IS NOT NULL;
CREATE INDEX audit_actor ON pgqueue.audit (actor, at);
-- list_verbs.sql: what people did within a time.
CREATE INDEX audit_at ON pgqueue.audit (at, id);

-- What happened, whole when read whole (all of history): look by actor or job_id. A row for each job made, attempt begun or ended, death, end, and verb. actor: whom
-- the job runs for. done_by: the person, or the worker's id; NULL for pgqueue itself. Nothing of
-- payloads and errors in it. What did 123 cause yesterday, and who touched it?
--   SELECT * FROM pgqueue.audit_trail
--   WHERE actor = '123' AND at >= now() - interval '1 day' ORDER BY at;
-- Goes by jobs_actor, finished_jobs_actor, attempts_job and audit_job; as far back as history goes.
CREATE VIEW pgqueue.audit_trail AS
SELECT created_at AS at, actor, 'enqueue' AS action, id AS job_id, task, queue, 0::bigint AS attempt,
    NULL::text AS done_by, NULL::text AS db_user, NULL::text AS reason
FROM pgqueue.jobs
UNION ALL
SELECT created_at, actor, 'enqueue', id, task, queue, 0, NULL, NULL, NULL
FROM pgqueue.finished_jobs
UNION ALL
SELECT claimed_at, actor, 'start', id, task, queue, attempt, worker_id::text, NULL, NULL
FROM pgqueue.jobs
WHERE state = 'running'
UNION ALL
SELECT started_at, actor, 'start', id, task, queue, attempt, worker_id::text, NULL, NULL
FROM pgqueue.finished_jobs
WHERE started_at IS NOT NULL AND state = 'succeeded'
UNION ALL
SELECT died_at, actor, 'dead', id, task, queue, attempt, NULL, NULL, reason
FROM pgqueue.jobs
WHERE state = 'dead'
UNION ALL
SELECT finished_at, actor, state, id, task, queue, attempt, worker_id::text, NULL, reason
FROM pgqueue.finished_jobs
UNION ALL
SELECT event.at, job.actor, event.action, job.id, job.task, job.queue, tried.attempt,
    tried.worker_id::text, NULL, NULL
FROM pgqueue.all_jobs AS job
JOIN pgqueue.attempts AS tried ON tried.job_id = job.id
CROSS JOIN LATERAL (
    VALUES (tried.started_at, 'start'), (tried.ended_at, tried.outcome)
) AS event (at, action)
WHERE event.at IS NOT NULL
UNION ALL
SELECT verb.at, job.actor, verb.verb, job.id, job.task, job.queue, job.attempt, verb.actor,
    verb.db_user, verb.reason
FROM pgqueue.all_jobs AS job
JOIN pgqueue.audit AS verb ON verb.job_id = job.id
UNION ALL
-- Verbs on queues, and on jobs whose history is over.
SELECT verb.at, NULL, verb.verb, verb.job_id, NULL, verb.queue, NULL, verb.actor, verb.db_user,
    verb.reason
FROM pgqueue.audit AS verb
WHERE NOT EXISTS (SELECT FROM pgqueue.jobs AS job WHERE job.id = verb.job_id)
    AND NOT EXISTS (SELECT FROM pgqueue.finished_jobs AS job WHERE job.id = verb.job_id);

COMMENT ON VIEW pgqueue.audit_trail IS
'Who caused what, and who touched it: a row for each enqueue, start, outcome, death, end and verb, by actor (whom the job runs for) and done_by (the person or worker). Ask for one actor or job_id; nothing of payloads and errors is in it.';
