-- Lease jobs that were running when a worker vanished: one of them may have been the reason.
--
-- Asked only by a worker that holds nothing else, so that the next crash condemns no bystander:
-- first a single job that was there at two crashes or more, otherwise a few that were there at one.
-- Served by jobs_suspect, which is nearly always empty.
WITH suspects AS MATERIALIZED (
    SELECT suspect.id, suspect.crashes
    FROM unnest(%(queues)s::text[]) AS share (queue)
    CROSS JOIN LATERAL (
        SELECT id, crashes
        FROM pgqueue.jobs
        WHERE state = 'available' AND crashes > 0
            AND queue = share.queue AND task = ANY(%(tasks)s::text[])
            AND (expires_at IS NULL OR expires_at > now())
        ORDER BY priority, run_at, id
        LIMIT %(few)s::bigint
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS suspect
    WHERE NOT EXISTS (
        SELECT FROM pgqueue.queues WHERE name = share.queue AND paused_at IS NOT NULL
    )
), candidates AS MATERIALIZED (
    (SELECT id FROM suspects WHERE crashes > 1 ORDER BY crashes DESC, id LIMIT 1)
    UNION ALL
    (SELECT id FROM suspects
     WHERE NOT EXISTS (SELECT FROM suspects WHERE crashes > 1)
     ORDER BY id LIMIT %(few)s::bigint)
)
UPDATE pgqueue.jobs AS job
SET state = 'running', attempt = attempt + 1, worker_id = %(worker_id)s::uuid,
    claimed_at = clock_timestamp(),
    lease_until = clock_timestamp() + %(lease_ms)s::bigint * interval '1 millisecond'
FROM candidates
WHERE job.id = candidates.id
RETURNING
    job.id, job.attempt, job.queue, job.task, job.priority, job.run_at, job.created_at,
    job.failures, job.crashes, job.max_attempts, job.max_crashes,
    (date_part('epoch', job.timeout) * 1000)::bigint AS timeout_ms,
    job.actor, job.args::text, job.metadata::text, job.scheduled_for, job.batch_id,
    CASE WHEN job.attempt > 1  -- evaluated for these alone
        THEN pgqueue.last_checkpoint(job.id) END
