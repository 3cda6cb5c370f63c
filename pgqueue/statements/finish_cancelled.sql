-- Write a batch of attempts that end their job as cancelled: the handler decided so, or somebody has
-- cancelled it and the attempt did not succeed. The latter come from the statements of their own
-- kind, which precede this one in the transaction and pass over them under the row lock: a
-- cancellation that commits between the two is seen here.
-- Fenced like finish_succeeded.sql, and by primary key like it.
-- Returns the ids that were accepted; the rest were lost.
WITH outcome AS MATERIALIZED (
    SELECT * FROM unnest(
        %(ids)s::bigint[], %(attempts)s::bigint[], %(decided)s::boolean[], %(errors)s::text[],
        %(started_us)s::bigint[], %(ended_us)s::bigint[]
    ) AS given (id, attempt, decided, error, started_us, ended_us)
), cancelled AS (
    DELETE FROM pgqueue.jobs AS job
    USING outcome
    WHERE job.id = outcome.id AND job.attempt = outcome.attempt
        AND job.worker_id = %(worker_id)s::uuid AND job.state = 'running'
        AND (outcome.decided OR job.cancel_requested_at IS NOT NULL)
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
