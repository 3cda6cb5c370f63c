-- Lease the next available jobs of queues whose head is slow to search: past the cursors.
--
-- While an old snapshot is held anywhere in the database no dead row can be cleaned up, and a search
-- from the head walks over every job that was ever claimed there; a hundred thousand jobs of a task
-- that nobody knows do the same. So each band (a priority of a queue) is entered behind the last job
-- that was claimed from it. A queue whose head is fast is one band, of all priorities below its end.
-- What came in behind the cursors, or with a priority that has none, is found by find_behind.sql, and
-- named in found: of that, as much as found_bytes allows; the rest is found again.
-- "crashes < 1" there is "= 0" without being what jobs_available says of itself: by primary key.
-- LIMIT stands outside the bands' LATERAL: they are searched in order, and no further than needed.
-- Returns what claim_jobs.sql returns.
WITH candidates AS MATERIALIZED (
    SELECT head.id
    FROM unnest(%(queues)s::text[], %(limits)s::bigint[], %(bytes)s::bigint[])
        AS share (queue, free, bytes)
    CROSS JOIN LATERAL (
        SELECT id, size, sum(size) OVER (ROWS UNBOUNDED PRECEDING) AS total
        FROM (
            SELECT next.id, next.size
            FROM unnest(
                %(band_queues)s::text[], %(priorities)s::bigint[], %(belows)s::bigint[],
                %(run_ats)s::timestamptz[], %(ids)s::bigint[]
            ) AS band (queue, priority, below, run_at, id)
            CROSS JOIN LATERAL (
                SELECT id, octet_length(args::text) AS size
                FROM pgqueue.jobs
                WHERE state = 'available' AND crashes = 0 AND queue = share.queue
                    AND (priority, run_at, id) > (band.priority, band.run_at, band.id)
                    AND priority < band.below
                    AND task = ANY(%(tasks)s::text[])
                    AND (expires_at IS NULL OR expires_at > now())
                ORDER BY priority, run_at, id
                LIMIT share.free
                FOR NO KEY UPDATE SKIP LOCKED
            ) AS next
            WHERE band.queue = share.queue
            LIMIT share.free
        ) AS locked
    ) AS head
    WHERE (head.total <= share.bytes OR head.total = head.size) AND NOT EXISTS (
        SELECT FROM pgqueue.queues WHERE name = share.queue AND paused_at IS NOT NULL
    )
    UNION ALL
    SELECT behind.id
    FROM (
        SELECT id, size, sum(size) OVER (ROWS UNBOUNDED PRECEDING) AS total
        FROM (
            SELECT id, octet_length(args::text) AS size
            FROM pgqueue.jobs
            WHERE id = ANY(%(found)s::bigint[]) AND state = 'available' AND crashes < 1
                AND (expires_at IS NULL OR expires_at > now())
                AND NOT EXISTS (
                    SELECT FROM pgqueue.queues WHERE name = jobs.queue AND paused_at IS NOT NULL
                )
            ORDER BY id
            FOR NO KEY UPDATE SKIP LOCKED
        ) AS locked
    ) AS behind
    WHERE behind.total <= %(found_bytes)s::bigint OR behind.total = behind.size
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
