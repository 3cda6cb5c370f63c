-- Lease the next job of a queue to whoever asks. The function is the one that SQL callers use.
SELECT
    id, attempt, worker_id::text, task, args::text, priority, metadata::text, actor, run,
    max_attempts, created_at, scheduled_for, batch_id
FROM pgqueue.fetch(
    %(queue)s::text, 1, %(lease_ms)s::bigint * interval '1 millisecond', %(tasks)s::text[]
)
