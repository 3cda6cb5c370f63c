-- Write a batch of attempts whose process child vanished: charged to that one job as a crash. Once
-- there were max_crashes it is dead. Fenced like finish_succeeded.sql, and by primary key like it.
-- A job that somebody has cancelled is left to finish_cancelled.sql, which follows.
-- Returns the ids that were accepted, and whether the job is dead; the rest were lost.
WITH outcome AS MATERIALIZED (
    SELECT * FROM unnest(
        %(ids)s::bigint[], %(attempts)s::bigint[], %(errors)s::text[],
        %(started_us)s::bigint[], %(ended_us)s::bigint[]
    ) AS given (id, attempt, error, started_us, ended_us)
), crashed AS (
    UPDATE pgqueue.jobs AS job
    SET state = CASE WHEN crashes + 1 >= max_crashes THEN 'dead' ELSE 'available' END,
        reason = CASE WHEN crashes + 1 >= max_crashes THEN 'crashed' END,
        died_at = CASE WHEN crashes + 1 >= max_crashes THEN clock_timestamp() END,
        error_type = CASE WHEN crashes + 1 >= max_crashes THEN 'Crashed' END,
        error = CASE WHEN crashes + 1 >= max_crashes THEN outcome.error END,
        history = CASE WHEN crashes + 1 >= max_crashes THEN pgqueue.last_attempts(
            job.id, outcome.attempt, 'crashed', 'Crashed', outcome.error, NULL) END,
        crashes = crashes + 1, lease_until = NULL, worker_id = NULL
    FROM outcome
    WHERE job.id = outcome.id AND job.attempt = outcome.attempt
        AND job.worker_id = %(worker_id)s::uuid AND job.state = 'running'
        AND job.cancel_requested_at IS NULL
    RETURNING job.id, job.queue, job.task, job.state, outcome.attempt,
        outcome.error AS why, outcome.started_us, outcome.ended_us
), recorded AS (
    INSERT INTO pgqueue.attempts (
        job_id, attempt, started_at, ended_at, expires_on, worker_id, outcome, queue, task,
        error_type, error
    )
    SELECT
        id, attempt, clock_timestamp() - started_us * interval '1 microsecond',
        clock_timestamp() - ended_us * interval '1 microsecond', pgqueue.attempt_expiry(),
        %(worker_id)s::uuid, 'crashed', queue, task, 'Crashed', why
    FROM crashed
)
SELECT crashed.id, crashed.state = 'dead' AS dead,
    CASE WHEN crashed.state = 'dead' THEN (SELECT pgqueue.ring_waiters()) END AS told
FROM crashed
CROSS JOIN (
    SELECT count(pgqueue.ring(queue))
    FROM (SELECT DISTINCT queue FROM crashed WHERE state = 'available') AS woken
) AS rung
