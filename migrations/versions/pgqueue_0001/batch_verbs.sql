-- What people do to batches: the verbs of jobs, for each of its jobs. None waits for a lock.

-- Cancel the jobs of a batch: those that wait at once, the workers of those that run are asked to.
-- The verb "cancel" for each, in order of id: at most so many, after this one (all, if not said).
-- Returns how many were cancelled, how many run and were asked to stop, how many were locked and
-- left alone, and the id to go on after: NULL when there are no more.
CREATE FUNCTION pgqueue.cancel_batch(
    batch_id bigint, actor text DEFAULT NULL, reason text DEFAULT NULL,
    after_id bigint DEFAULT 0, at_most bigint DEFAULT NULL,
    OUT cancelled bigint, OUT requested bigint, OUT busy bigint, OUT next_after bigint
)
LANGUAGE sql VOLATILE
BEGIN ATOMIC
    WITH chosen AS MATERIALIZED (
        SELECT job.id FROM pgqueue.jobs AS job
        WHERE job.batch_id = cancel_batch.batch_id AND job.id > cancel_batch.after_id
            AND job.state <> 'dead'
        ORDER BY job.id
        LIMIT cancel_batch.at_most
    ), done AS MATERIALIZED (
        SELECT id, pgqueue.cancel(id, cancel_batch.actor, cancel_batch.reason) AS answer
        FROM chosen
    )
    SELECT
        count(*) FILTER (WHERE answer = 'cancelled'), count(*) FILTER (WHERE answer = 'requested'),
        count(*) FILTER (WHERE answer = 'busy'),
        CASE WHEN count(*) = cancel_batch.at_most THEN max(id) END
    FROM done;
END;

-- Run the dead jobs of a batch again: the verb "retry" for each, like cancel_batch().
-- Returns how many will run again, how many were locked and left alone, and the id to go on after.
CREATE FUNCTION pgqueue.retry_batch(
    batch_id bigint, actor text DEFAULT NULL, reason text DEFAULT NULL,
    after_id bigint DEFAULT 0, at_most bigint DEFAULT NULL,
    OUT retried bigint, OUT busy bigint, OUT next_after bigint
)
LANGUAGE sql VOLATILE
BEGIN ATOMIC
    WITH chosen AS MATERIALIZED (
        SELECT job.id FROM pgqueue.jobs AS job
        WHERE job.batch_id = retry_batch.batch_id AND job.id > retry_batch.after_id
            AND job.died_at IS NOT NULL  -- dead; said like this it cannot go by jobs_dead
        ORDER BY job.id
        LIMIT retry_batch.at_most
    ), done AS MATERIALIZED (
        SELECT id, pgqueue.retry(id, NULL, retry_batch.actor, retry_batch.reason) AS answer
        FROM chosen
    )
    SELECT
        count(*) FILTER (WHERE answer = 'available'), count(*) FILTER (WHERE answer = 'dead'),
        CASE WHEN count(*) = retry_batch.at_most THEN max(id) END
    FROM done;
END;
