-- Lease the next available jobs of each queue, as many as it has free and as its bytes allow: the sum
-- runs over rows locked already, and a size is read without reading what was stored out of line.
--
-- One LATERAL probe a queue, so that each takes exactly its share by walking the head of
-- jobs_available; ANY(queues) with one ORDER BY would read and sort every row of them. The locking
-- CTE is never inlined: an IN (... LIMIT) may lock more rows than its LIMIT. SKIP LOCKED looks past
-- what other workers are claiming; NO KEY is the weakest lock that keeps two from one row.
--
-- Returns the jobs, and before them a row without an id: in the place of attempt how many microseconds
-- the search took, in the place of run_at the clock at its end, in that of queue those that are paused,
-- whose heads were not searched (a JSON array, or NULL). It ends when it is counted; what
-- follows is the writing. A slow one has dead or unclaimable rows before it: see claim_beyond.sql.
WITH candidates AS MATERIALIZED (
    SELECT head.id
    FROM unnest(%(queues)s::text[], %(limits)s::bigint[], %(bytes)s::bigint[])
        AS share (queue, free, bytes)
    CROSS JOIN LATERAL (
        SELECT id, size, sum(size) OVER (ROWS UNBOUNDED PRECEDING) AS total
        FROM (
            SELECT id, octet_length(args::text) AS size
            FROM pgqueue.jobs
            WHERE state = 'available' AND crashes = 0
                AND queue = share.queue AND task = ANY(%(tasks)s::text[])
                AND (expires_at IS NULL OR expires_at > now())
            ORDER BY priority, run_at, id
            LIMIT share.free
            FOR NO KEY UPDATE SKIP LOCKED
        ) AS locked
    ) AS head
    WHERE (head.total <= share.bytes OR head.total = head.size) AND NOT EXISTS (
        SELECT FROM pgqueue.queues WHERE name = share.queue AND paused_at IS NOT NULL
    )
), search AS MATERIALIZED (
    SELECT count(*) AS found, clock_timestamp() AS ended_at FROM candidates
), claimed AS (
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
)
SELECT
    NULL AS id, (extract(epoch FROM ended_at - statement_timestamp()) * 1000000)::bigint AS attempt,
    (SELECT json_agg(name)::text FROM pgqueue.queues
     WHERE name = ANY(%(queues)s::text[]) AND paused_at IS NOT NULL) AS queue,
    NULL, NULL, ended_at, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
FROM search  -- first, or the writing would go on meanwhile
UNION ALL
SELECT * FROM claimed
