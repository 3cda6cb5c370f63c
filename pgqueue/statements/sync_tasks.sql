-- Write down what the code says of its tasks, for those who enqueue by SQL.
-- Every statement returns rows: a driver need not ask.
INSERT INTO pgqueue.tasks AS known (
    name, queue, priority, max_attempts, max_crashes, timeout_ms, keep, keep_cancelled, keep_dead,
    on_dead_task, target_ms, seen_at
)
SELECT name, queue, priority, max_attempts, max_crashes, timeout_ms,
    keep_ms * interval '1 millisecond', keep_cancelled_ms * interval '1 millisecond',
    keep_dead_ms * interval '1 millisecond', on_dead_task, target_ms, clock_timestamp()
FROM unnest(
    %(names)s::text[], %(queues)s::text[], %(priorities)s::bigint[], %(max_attempts)s::bigint[],
    %(max_crashes)s::bigint[], %(timeouts_ms)s::bigint[], %(keeps_ms)s::bigint[],
    %(keeps_cancelled_ms)s::bigint[], %(keeps_dead_ms)s::bigint[], %(on_dead_tasks)s::text[],
    %(targets_ms)s::bigint[]
) AS declared (
    name, queue, priority, max_attempts, max_crashes, timeout_ms, keep_ms, keep_cancelled_ms,
    keep_dead_ms, on_dead_task, target_ms
)
ORDER BY name
ON CONFLICT (name) DO UPDATE SET
    queue = excluded.queue, priority = excluded.priority, max_attempts = excluded.max_attempts,
    max_crashes = excluded.max_crashes, timeout_ms = excluded.timeout_ms, keep = excluded.keep,
    keep_cancelled = excluded.keep_cancelled, keep_dead = excluded.keep_dead,
    on_dead_task = excluded.on_dead_task, target_ms = excluded.target_ms,
    seen_at = excluded.seen_at
RETURNING name
