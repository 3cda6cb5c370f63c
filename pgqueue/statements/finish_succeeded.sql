-- Write a batch of successes: the rows leave jobs and enter history in one statement.
--
-- A row is touched only while (id, attempt, worker_id) still names the attempt in hand: a worker
-- that was given up for dead cannot overwrite its successor. Goes by primary key, one probe an id;
-- all rows are this worker's own, so two batches cannot deadlock.
-- done has only the columns that are needed below: what it holds is copied once more.
-- A batch is told in a row of its own, and who waits for a job is woken.
-- Returns the ids that were accepted; the rest were lost.
WITH outcome AS MATERIALIZED (
    SELECT * FROM unnest(
        %(ids)s::bigint[], %(attempts)s::bigint[], %(results)s::text[],
        %(started_us)s::bigint[], %(ended_us)s::bigint[]
    ) AS given (id, attempt, result, started_us, ended_us)
), done AS (
    DELETE FROM pgqueue.jobs AS job
    USING outcome
    WHERE job.id = outcome.id AND job.attempt = outcome.attempt
        AND job.worker_id = %(worker_id)s::uuid AND job.state = 'running'
    RETURNING
        job.id, job.attempt, job.created_at, job.run_at, job.keep, job.failures, job.crashes,
        job.max_attempts, job.priority, job.queue, job.task, job.worker_id, job.key, job.actor,
        job.schedule_id, job.scheduled_for, job.batch_id, job.args, job.metadata,
        outcome.result, outcome.started_us, outcome.ended_us
), kept AS (
    INSERT INTO pgqueue.finished_jobs (
        id, attempt, created_at, run_at, started_at, finished_at, expires_on,
        failures, crashes, max_attempts, priority, state, queue, task, worker_id,
        key, actor, schedule_id, scheduled_for, batch_id, args, metadata, result
    )
    SELECT
        id, attempt, created_at, run_at,
        clock_timestamp() - started_us * interval '1 microsecond',
        clock_timestamp() - ended_us * interval '1 microsecond',
        pgqueue.expiry(keep), failures, crashes, max_attempts, priority, 'succeeded',
        queue, task, worker_id, key, actor, schedule_id, scheduled_for, batch_id, args, metadata,
        result::json
    FROM done
    WHERE keep > interval '0'
), counted AS (
    INSERT INTO pgqueue.batch_outcomes (batch_id, succeeded)
    SELECT batch_id, count(*) FROM done WHERE batch_id IS NOT NULL GROUP BY batch_id
)
SELECT id, (SELECT pgqueue.ring_waiters()) AS rung FROM done
