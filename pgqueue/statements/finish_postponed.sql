-- Put jobs back uncharged: snoozed by their handler for a while, or released by a worker that stops
-- before it ran them. A release leaves the count of crashes as it is, because the job proved nothing.
-- Fenced like finish_succeeded.sql, and by primary key like it.
-- A job that somebody has cancelled is left to finish_cancelled.sql, which follows.
-- Returns the ids that were accepted; the rest were lost.
WITH outcome AS MATERIALIZED (
    SELECT * FROM unnest(
        %(ids)s::bigint[], %(attempts)s::bigint[], %(delays_ms)s::bigint[], %(kinds)s::text[],
        %(errors)s::text[], %(started_us)s::bigint[], %(ended_us)s::bigint[]
    ) AS given (id, attempt, delay_ms, kind, error, started_us, ended_us)
), postponed AS (
    UPDATE pgqueue.jobs AS job
    SET state = CASE WHEN outcome.delay_ms > 0 THEN 'scheduled' ELSE 'available' END,
        run_at = CASE WHEN outcome.kind = 'released' THEN job.run_at
            ELSE clock_timestamp() + outcome.delay_ms * interval '1 millisecond' END,
        crashes = CASE WHEN outcome.kind = 'released' THEN job.crashes ELSE 0 END,
        lease_until = NULL, worker_id = NULL
    FROM outcome
    WHERE job.id = outcome.id AND job.attempt = outcome.attempt
        AND job.worker_id = %(worker_id)s::uuid AND job.state = 'running'
        AND job.cancel_requested_at IS NULL
    RETURNING job.id, job.queue, job.task, job.state, outcome.attempt, outcome.kind,
        outcome.error, outcome.started_us, outcome.ended_us
), recorded AS (
    INSERT INTO pgqueue.attempts (
        job_id, attempt, started_at, ended_at, expires_on, worker_id, outcome, queue, task, error
    )
    SELECT
        id, attempt, clock_timestamp() - started_us * interval '1 microsecond',
        clock_timestamp() - ended_us * interval '1 microsecond', pgqueue.attempt_expiry(),
        %(worker_id)s::uuid, kind, queue, task, error
    FROM postponed
)
SELECT postponed.id
FROM postponed
CROSS JOIN (
    SELECT count(pgqueue.ring(queue))
    FROM (SELECT DISTINCT queue FROM postponed WHERE state = 'available') AS woken
) AS rung
