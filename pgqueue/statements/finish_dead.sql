-- Write a batch of attempts that were the last: the job moves to the dead letter, with its reason
-- and up to ten attempts on its own row, because the dead letter outlives the attempts' retention.
-- Fenced like finish_succeeded.sql, and by primary key like it.
-- A job that somebody has cancelled is left to finish_cancelled.sql, which follows.
-- Returns the ids that were accepted; the rest were lost.
WITH outcome AS MATERIALIZED (
    SELECT * FROM unnest(
        %(ids)s::bigint[], %(attempts)s::bigint[], %(reasons)s::text[], %(kinds)s::text[],
        %(error_types)s::text[], %(errors)s::text[], %(tracebacks)s::text[],
        %(fingerprints)s::text[], %(started_us)s::bigint[], %(ended_us)s::bigint[]
    ) AS given (
        id, attempt, reason, kind, error_type, error, traceback, fingerprint,
        started_us, ended_us
    )
), buried AS (
    UPDATE pgqueue.jobs AS job
    SET state = 'dead', died_at = clock_timestamp(), reason = outcome.reason,
        failures = failures + 1, crashes = 0, lease_until = NULL, worker_id = NULL,
        error_type = outcome.error_type, error = outcome.error,
        fingerprint = outcome.fingerprint,
        history = pgqueue.last_attempts(
            job.id, outcome.attempt, outcome.kind, outcome.error_type, outcome.error,
            outcome.traceback)
    FROM outcome
    WHERE job.id = outcome.id AND job.attempt = outcome.attempt
        AND job.worker_id = %(worker_id)s::uuid AND job.state = 'running'
        AND job.cancel_requested_at IS NULL
    RETURNING job.id, job.queue, job.task, outcome.attempt, outcome.kind, outcome.error_type,
        outcome.error, outcome.traceback, outcome.fingerprint,
        outcome.started_us, outcome.ended_us
), recorded AS (
    INSERT INTO pgqueue.attempts (
        job_id, attempt, started_at, ended_at, expires_on, worker_id, outcome, queue, task,
        error_type, error, traceback, fingerprint
    )
    SELECT
        id, attempt, clock_timestamp() - started_us * interval '1 microsecond',
        clock_timestamp() - ended_us * interval '1 microsecond', pgqueue.attempt_expiry(),
        %(worker_id)s::uuid, kind, queue, task, error_type, error, traceback, fingerprint
    FROM buried
)
SELECT id, (SELECT pgqueue.ring_waiters()) AS rung FROM buried
