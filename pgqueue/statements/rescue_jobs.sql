-- Take back jobs whose lease ran out, in one statement that judges state and lease under the row
-- lock: nothing can finish or renew between the look and the write. Any worker may run it.
--
-- Each rescue counts as a crash: the next run is watched (claim_suspects.sql), and at max_crashes the
-- job is dead. A job that somebody wanted cancelled is cancelled; whether so, and whose it was, is read
-- off the locked row, which may be younger than the snapshot that the other parts see. Served by
-- jobs_lease, and in its order: in the order of ids the planner would rather walk the primary key past
-- all that waits.
-- Returns how many jobs were rescued, died, and were cancelled.
WITH expired AS MATERIALIZED (
    SELECT id, worker_id, claimed_at, cancel_requested_at IS NOT NULL AS is_cancelled
    FROM pgqueue.jobs
    WHERE lease_until < now() AND state = 'running'
        AND lease_until >= coalesce(now() - %(within_s)s::float8 * interval '1 second', '-infinity')
    ORDER BY lease_until
    LIMIT %(limit)s::bigint
    FOR NO KEY UPDATE SKIP LOCKED
), cancelled AS (
    DELETE FROM pgqueue.jobs AS job USING expired
    WHERE job.id = expired.id AND expired.is_cancelled
    RETURNING job.*
), kept AS (
    INSERT INTO pgqueue.finished_jobs (
        id, attempt, created_at, run_at, started_at, finished_at, expires_on,
        failures, crashes, max_attempts, priority, state, queue, task, worker_id,
        key, actor, schedule_id, scheduled_for, batch_id, args, metadata, error
    )
    SELECT
        id, attempt, created_at, run_at, claimed_at, clock_timestamp(),
        pgqueue.expiry(coalesce(keep_cancelled, keep)),
        failures, crashes + 1, max_attempts, priority, 'cancelled', queue, task, worker_id,
        key, actor, schedule_id, scheduled_for, batch_id, args, metadata,
        'cancelled while its worker vanished'
    FROM cancelled
    WHERE coalesce(keep_cancelled, keep) > interval '0'
), counted AS (
    INSERT INTO pgqueue.batch_outcomes (batch_id, cancelled)
    SELECT batch_id, count(*) FROM cancelled WHERE batch_id IS NOT NULL GROUP BY batch_id
), rescued AS (
    UPDATE pgqueue.jobs AS job
    SET state = CASE WHEN crashes + 1 >= max_crashes THEN 'dead' ELSE 'available' END,
        reason = CASE WHEN crashes + 1 >= max_crashes THEN 'crashed' END,
        died_at = CASE WHEN crashes + 1 >= max_crashes THEN clock_timestamp() END,
        error_type = CASE WHEN crashes + 1 >= max_crashes THEN 'LeaseLost' END,
        error = CASE WHEN crashes + 1 >= max_crashes
            THEN 'its worker vanished ' || (crashes + 1) || ' times while it ran' END,
        history = CASE WHEN crashes + 1 >= max_crashes THEN pgqueue.last_attempts(
            job.id, job.attempt, 'lost', 'LeaseLost',
            'the worker stopped renewing its lease', NULL) END,
        crashes = crashes + 1, lease_until = NULL, worker_id = NULL
    FROM expired
    WHERE job.id = expired.id AND NOT expired.is_cancelled
    RETURNING job.id, job.attempt, job.queue, job.task, job.state,
        expired.worker_id AS lost_worker, expired.claimed_at AS lost_since
), recorded AS (
    INSERT INTO pgqueue.attempts (
        job_id, attempt, started_at, ended_at, expires_on, worker_id, outcome, queue, task,
        error_type, error
    )
    SELECT id, attempt, lost_since, clock_timestamp(), pgqueue.attempt_expiry(), lost_worker,
        'lost', queue, task, 'LeaseLost', 'the worker stopped renewing its lease'
    FROM rescued
), told AS (
    INSERT INTO pgqueue.tallies (at, queue, task, lost, retried, dead, cancelled)
    SELECT date_trunc('minute', clock_timestamp(), 'UTC'), queue, task,
        count(*) FILTER (WHERE state <> 'cancelled'), count(*) FILTER (WHERE state = 'available'),
        count(*) FILTER (WHERE state = 'dead'), count(*) FILTER (WHERE state = 'cancelled')
    FROM (
        SELECT queue, task, state FROM rescued
        UNION ALL SELECT queue, task, 'cancelled' FROM cancelled
    ) AS ended
    GROUP BY queue, task
)
SELECT
    (SELECT count(*) FROM rescued WHERE state = 'available') AS rescued,
    (SELECT count(*) FROM rescued WHERE state = 'dead') AS died,
    (SELECT count(*) FROM cancelled) AS cancelled,
    (SELECT count(pgqueue.ring(queue))
     FROM (SELECT DISTINCT queue FROM rescued WHERE state = 'available') AS woken) AS rung
