-- One job, told to a person: why it does not run, and what has happened to it.

-- Why an available job is not running: a row for each thing that stands in its way.
--
-- Whose row is locked is seen by its xmax, without locking it: a question must not get in the way.
CREATE FUNCTION pgqueue.why_waiting(job pgqueue.jobs, locked_by xid)
RETURNS TABLE (reason text, detail text)
LANGUAGE sql STABLE
SET enable_seqscan = off
SET enable_bitmapscan = off
SET jit = off
BEGIN ATOMIC
    WITH serving AS MATERIALIZED (
        SELECT job.task = ANY(worker.tasks) AS knows_task,
            (worker.queues ->> job.queue)::bigint AS slots
        FROM pgqueue.workers AS worker
        WHERE pgqueue.is_alive(worker.seen_at) AND worker.queues ->> job.queue IS NOT NULL
    ), able AS MATERIALIZED (
        SELECT count(*) AS workers, sum(slots)::bigint AS slots FROM serving WHERE knows_task
    ), ahead AS MATERIALIZED (
        SELECT count(*) AS jobs
        FROM (
            SELECT FROM pgqueue.jobs AS other
            WHERE other.state = 'available' AND other.crashes = 0 AND other.queue = job.queue
                AND (other.priority, other.run_at, other.id) < (job.priority, job.run_at, job.id)
            LIMIT 10000
        ) AS sample
    ), busy AS MATERIALIZED (
        SELECT count(*) AS jobs
        FROM (
            SELECT FROM pgqueue.find_running(10000) AS other WHERE other.queue = job.queue
        ) AS sample
    ), found AS (
        SELECT 1 AS place, 'expired' AS reason,
            format('it was not to be started after %s; it is buried as dead within seconds',
                job.expires_at) AS detail
        WHERE job.expires_at <= now()
        UNION ALL
        SELECT 2, 'paused', format(
            'queue %L is paused since %s ago%s; go on: SELECT pgqueue.resume(%L)', job.queue,
            pgqueue.in_words(now() - settings.paused_at), coalesce((
                SELECT format(' by %s', verb.actor || coalesce(': ' || verb.reason, ''))
                FROM (SELECT * FROM pgqueue.audit ORDER BY id DESC LIMIT 1000) AS verb
                WHERE verb.verb = 'pause' AND verb.queue = job.queue
                ORDER BY verb.id DESC LIMIT 1), ''), job.queue)
        FROM pgqueue.queues AS settings
        WHERE settings.name = job.queue AND settings.paused_at IS NOT NULL
        UNION ALL
        SELECT 3, 'no worker', format(
            'no living worker serves queue %L; start one: pgqueue worker MODULE:TASKS -q %s',
            job.queue, job.queue)
        WHERE NOT EXISTS (SELECT FROM serving)
        UNION ALL
        SELECT 4, 'unknown task', format(
            'none of the %s living workers of queue %L knows task %L; deploy one that does',
            (SELECT count(*) FROM serving), job.queue, job.task)
        FROM able WHERE able.workers = 0 AND EXISTS (SELECT FROM serving)
        UNION ALL
        SELECT 5, 'suspect', format(
            'it was running when a worker vanished, %s of %s times: it is run with little beside '
            'it, when a worker has nothing else in hand', job.crashes, job.max_crashes)
        WHERE job.crashes > 0
        UNION ALL
        SELECT 6, 'busy', format('%s jobs of the queue are in hand for %s slots; more slots: '
            'pgqueue worker MODULE:TASKS -q %s=N', busy.jobs, able.slots, job.queue)
        FROM able, busy WHERE able.workers > 0 AND busy.jobs >= able.slots
        UNION ALL
        SELECT 7, 'behind', format('%s%s jobs of the queue come before it (its priority is %s, lower '
            'comes first)', ahead.jobs, CASE ahead.jobs WHEN 10000 THEN ' or more' END, job.priority)
        FROM ahead WHERE ahead.jobs > 0
        UNION ALL
        SELECT 8, 'locked', format('process %s is writing it right now%s', held.pid, coalesce((
            SELECT format(' (%s, in a transaction for %s)',
                coalesce(nullif(activity.application_name, ''), 'no application name'),
                pgqueue.in_words(clock_timestamp() - activity.xact_start))
            FROM pg_catalog.pg_stat_activity AS activity
            WHERE activity.pid = held.pid AND activity.xact_start IS NOT NULL), ''))
        FROM pg_catalog.pg_locks AS held
        WHERE held.locktype = 'transactionid' AND held.transactionid = locked_by AND held.granted
            AND held.pid <> pg_backend_pid()
    )
    SELECT found.reason, found.detail FROM found
    UNION ALL
    SELECT 'next', 'nothing stands in its way: a worker should claim it within a second'
    WHERE NOT EXISTS (SELECT FROM found);
END;

-- Why is this job not running? A row for each reason, in words that a person can act on.
--   SELECT * FROM pgqueue.why_not_running(4711);
CREATE FUNCTION pgqueue.why_not_running(job_id bigint) RETURNS TABLE (reason text, detail text)
LANGUAGE plpgsql STABLE
SET enable_seqscan = off
SET enable_bitmapscan = off
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    job pgqueue.jobs;
    over pgqueue.finished_jobs;
    worker pgqueue.workers;
    locked_by xid;
BEGIN
    SELECT live.* INTO job FROM pgqueue.jobs AS live WHERE live.id = why_not_running.job_id;
    IF NOT FOUND THEN
        SELECT gone.* INTO over FROM pgqueue.finished_jobs AS gone
        WHERE gone.id = why_not_running.job_id LIMIT 1;
        RETURN QUERY SELECT
            CASE WHEN over.id IS NULL THEN 'unknown' ELSE 'finished' END,
            CASE WHEN over.id IS NULL
                THEN 'no such job is known: its transaction has not committed, or was rolled back, or '
                    'it finished and its history is no longer kept'
                ELSE format('it is over: %s at %s%s', over.state, over.finished_at,
                    coalesce(': ' || left(over.error, 300), '')) END;
        RETURN;
    END IF;
    SELECT live.xmax INTO locked_by FROM pgqueue.jobs AS live WHERE live.id = job.id;
    CASE job.state
    WHEN 'available' THEN
        RETURN QUERY SELECT * FROM pgqueue.why_waiting(job, locked_by);
    WHEN 'scheduled' THEN
        RETURN QUERY SELECT 'scheduled', CASE
            WHEN job.run_at > now() THEN format('it is due in %s, at %s%s; run it now: SELECT pgqueue.run_now(%s)',
                CASE WHEN isfinite(job.run_at) THEN pgqueue.in_words(job.run_at - now())
                    ELSE 'no time at all' END,
                job.run_at, CASE WHEN job.failures > 0 THEN
                    format(' (%s of %s runs have failed)', job.failures, job.max_attempts) END,
                job.id)
            ELSE 'it is due, and is made available by the next worker that looks, within a second '
                'if any is alive' END;
        IF job.run_at <= now() AND NOT EXISTS (
            SELECT FROM pgqueue.workers AS living WHERE pgqueue.is_alive(living.seen_at)) THEN
            RETURN QUERY SELECT 'no worker', 'no worker is alive; start one: pgqueue worker MODULE:TASKS';
        END IF;
    WHEN 'running' THEN
        SELECT known.* INTO worker FROM pgqueue.workers AS known WHERE known.id = job.worker_id;
        RETURN QUERY SELECT
            CASE WHEN job.lease_until < now() THEN 'lost' ELSE 'running' END,
            format('attempt %s was claimed %s ago by %s%s', job.attempt,
                pgqueue.in_words(clock_timestamp() - job.claimed_at),
                CASE WHEN worker.id IS NULL THEN 'a worker that is gone'
                    ELSE format('process %s on %s', worker.pid, worker.host) END,
                CASE WHEN job.lease_until < now() THEN format(
                    '; its lease ran out %s ago, and a living worker takes the job back',
                    pgqueue.in_words(now() - job.lease_until)) END);
        IF job.cancel_requested_at IS NOT NULL THEN
            RETURN QUERY SELECT 'cancelling', format('it was asked to stop %s ago',
                pgqueue.in_words(now() - job.cancel_requested_at));
        END IF;
    WHEN 'dead' THEN
        RETURN QUERY SELECT 'dead', format('it died %s ago (%s)%s; run it again: SELECT pgqueue.retry(%s)',
            pgqueue.in_words(now() - job.died_at), job.reason,
            coalesce(': ' || job.error_type || coalesce(': ' || left(job.error, 300), ''), ''), job.id);
    ELSE
        RETURN QUERY SELECT job.state, 'it waits for other jobs to finish';
    END CASE;
END
$$;

-- What has happened to a job, in the order of time: enqueued, each attempt, what people did, how it
-- ended. Attempts are kept 30 days; of a dead job the last ten as long as it is there.
--   SELECT * FROM pgqueue.job_story(4711);
CREATE FUNCTION pgqueue.job_story(job_id bigint)
RETURNS TABLE (at timestamptz, event text, attempt bigint, actor text, worker text, detail text)
LANGUAGE sql STABLE
SET enable_seqscan = off
SET enable_bitmapscan = off
SET jit = off
BEGIN ATOMIC
    WITH told AS MATERIALIZED (
        SELECT job.* FROM pgqueue.all_jobs AS job WHERE job.id = job_story.job_id
    ), failed AS MATERIALIZED (
        SELECT each.attempt, each.started_at, each.ended_at, each.outcome, each.worker_id,
            each.error_type, each.error
        FROM pgqueue.attempts AS each WHERE each.job_id = job_story.job_id
    ), tried AS (
        SELECT * FROM failed
        UNION ALL
        SELECT remembered.attempt, NULL, remembered.ended_at, remembered.outcome, NULL,
            remembered.error_type, remembered.error
        FROM told CROSS JOIN LATERAL json_to_recordset(told.history) AS remembered (
            attempt bigint, ended_at timestamptz, outcome text, error_type text, error text)
        WHERE NOT EXISTS (SELECT FROM failed WHERE failed.attempt = remembered.attempt)
    ), events AS (
        SELECT told.created_at AS at, 1 AS place, 'enqueued' AS event, NULL::bigint AS attempt,
            told.actor, NULL::uuid AS worker_id,
            format('task %s, queue %s, priority %s%s%s', told.task, told.queue, told.priority,
                coalesce(', key ' || told.key, ''), coalesce(', batch ' || told.batch_id, '')) AS detail
        FROM told
        UNION ALL
        SELECT tried.started_at, 3, 'started', tried.attempt, NULL, tried.worker_id, NULL
        FROM tried WHERE tried.started_at IS NOT NULL
        UNION ALL
        SELECT tried.ended_at, 4, tried.outcome, tried.attempt, NULL, tried.worker_id,
            concat_ws(': ', tried.error_type, left(tried.error, 300))
        FROM tried
        UNION ALL
        SELECT told.started_at, 3, CASE told.state WHEN 'running' THEN 'claimed' ELSE 'started' END,
            told.attempt, NULL, told.worker_id,
            CASE WHEN told.state = 'running' THEN 'lease until ' || told.lease_until END
        FROM told
        WHERE told.started_at IS NOT NULL AND told.state IN ('running', 'succeeded', 'cancelled')
            AND NOT EXISTS (
                SELECT FROM tried WHERE tried.attempt = told.attempt AND tried.started_at IS NOT NULL)
        UNION ALL
        SELECT told.finished_at, 5, told.state, NULLIF(told.attempt, 0), NULL, told.worker_id,
            concat_ws(': ', told.reason, CASE told.state WHEN 'cancelled' THEN told.error END)
        FROM told
        WHERE told.finished_at IS NOT NULL
        UNION ALL
        SELECT told.run_at, 6, 'due', NULL, NULL, NULL, 'then it becomes available'
        FROM told WHERE told.state = 'scheduled'
        UNION ALL
        SELECT verb.at, 2, verb.verb, NULL, verb.actor, NULL, verb.reason
        FROM pgqueue.audit AS verb WHERE verb.job_id = job_story.job_id
    )
    SELECT events.at, events.event, events.attempt, events.actor,
        coalesce(worker.host || ' ' || worker.pid, events.worker_id::text), events.detail
    FROM events
    LEFT JOIN pgqueue.workers AS worker ON worker.id = events.worker_id
    ORDER BY events.at, events.place;
END;

COMMENT ON FUNCTION pgqueue.why_not_running(bigint) IS
'Why a job is not running: a row for each reason, in words that a person can act on.';
COMMENT ON FUNCTION pgqueue.job_story(bigint) IS
'What has happened to a job, in the order of time.';
