-- Write a batch of failed attempts that are to be tried again: charge them, record the error, put
-- the job back after its backoff. Fenced like finish_succeeded.sql, and by primary key like it.
-- A job that somebody has cancelled is left to finish_cancelled.sql, which follows.
-- Returns the ids that were accepted; the rest were lost.
WITH outcome AS MATERIALIZED (
    SELECT * FROM unnest(
        %(ids)s::bigint[], %(attempts)s::bigint[], %(delays_ms)s::bigint[], %(kinds)s::text[],
        %(error_types)s::text[], %(errors)s::text[], %(tracebacks)s::text[],
        %(fingerprints)s::text[], %(started_us)s::bigint[], %(ended_us)s::bigint[]
    ) AS given (
        id, attempt, delay_ms, kind, error_type, error, traceback, fingerprint,
        started_us, ended_us
    )
), retried AS (
    UPDATE pgqueue.jobs AS job
    SET state = CASE WHEN outcome.delay_ms > 0 THEN 'scheduled' ELSE 'available' END,
        run_at = clock_timestamp() + outcome.delay_ms * interval '1 millisecond',
        failures = failures + 1, crashes = 0, lease_until = NULL, worker_id = NULL
    FROM outcome
    WHERE job.id = outcome.id AND job.attempt = outcome.attempt
        AND job.worker_id = %(worker_id)s::uuid AND job.state = 'running'
        AND job.cancel_requested_at IS NULL
    RETURNING job.id, job.queue, job.task, job.state, outcome.attempt, outcome.kind,
        outcome.error_type, outcome.error, outcome.traceback, outcome.fingerprint,
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
    FROM retried
)
SELECT retried.id
FROM retried
CROSS JOIN (
    SELECT count(pgqueue.ring(queue))
    FROM (SELECT DISTINCT queue FROM retried WHERE state = 'available') AS woken
) AS rung
