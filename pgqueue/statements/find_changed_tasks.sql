-- Which of these tasks are not written down as the code says they are: see sync_tasks.sql. Without
-- a lock, for tests that only sync what they must. By primary key.
SELECT declared.name
FROM unnest(
    %(names)s::text[], %(queues)s::text[], %(priorities)s::bigint[], %(max_attempts)s::bigint[],
    %(max_crashes)s::bigint[], %(timeouts_ms)s::bigint[], %(keeps_ms)s::bigint[],
    %(keeps_cancelled_ms)s::bigint[], %(keeps_dead_ms)s::bigint[], %(on_dead_tasks)s::text[],
    %(targets_ms)s::bigint[]
) AS declared (
    name, queue, priority, max_attempts, max_crashes, timeout_ms, keep_ms, keep_cancelled_ms,
    keep_dead_ms, on_dead_task, target_ms
)
LEFT JOIN pgqueue.tasks AS known ON known.name = declared.name
WHERE known.name IS NULL OR (
    known.queue, known.priority, known.max_attempts, known.max_crashes, known.timeout_ms,
    pgqueue.milliseconds(known.keep), pgqueue.milliseconds(known.keep_cancelled),
    pgqueue.milliseconds(known.keep_dead), known.on_dead_task, known.target_ms
) IS DISTINCT FROM (
    declared.queue, declared.priority, declared.max_attempts, declared.max_crashes,
    declared.timeout_ms, declared.keep_ms, declared.keep_cancelled_ms, declared.keep_dead_ms,
    declared.on_dead_task, declared.target_ms
)
