-- Write a batch of attempts that ended because somebody cancelled the job, or its handler did.
-- Fenced like finish_succeeded.sql, and by primary key like it.
-- Returns the ids that were accepted; the rest were lost.
WITH outcome AS MATERIALIZED (
    SELECT * FROM unnest(
        %(ids)s::bigint[], %(attempts)s::bigint[], %(errors)s::text[],
        %(started_us)s::bigint[], %(ended_us)s::bigint[]
    ) AS given (id, attempt, error, started_us, ended_us)
), cancelled AS (
    DELETE FROM pgqueue.jobs AS job
    USING outcome
    WHERE job.id = outcome.id AND job.attempt = outcome.attempt
        AND job.worker_id = %(worker_id)s::uuid AND job.state = 'running'
    RETURNING job.*, outcome.error AS why, outcome.started_us, outcome.ended_us
), kept AS (
    INSERT INTO pgqueue.finished_jobs (
        id, attempt, created_at, run_at, started_at, finished_at, expires_on,
        failures, crashes, max_attempts, priority, state, queue, task, worker_id,
        key, actor, schedule_id, scheduled_for, batch_id, args, metadata, error
    )
    SELECT
        id, attempt, created_at, run_at,
        clock_timestamp() - started_us * interval '1 microsecond',
        clock_timestamp() - ended_us * interval '1 microsecond',
        pgqueue.expiry(coalesce(keep_cancelled, keep)), failures, crashes, max_attempts, priority,
        'cancelled', queue, task, worker_id, key, actor, schedule_id, scheduled_for, batch_id, args,
        metadata, why
    FROM cancelled
    WHERE coalesce(keep_cancelled, keep) > interval '0'
), counted AS (
    INSERT INTO pgqueue.batch_outcomes (batch_id, cancelled)
    SELECT batch_id, count(*) FROM cancelled WHERE batch_id IS NOT NULL GROUP BY batch_id
)
SELECT id, (SELECT pgqueue.ring_waiters()) AS rung FROM cancelled
