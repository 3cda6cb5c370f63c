-- The jobs of some tasks, or (NULL) of all, over or not, in the order of their enqueue: for the
-- assertions of a test, whose database has few. run_at is the user's own, and may be one that Python
-- has no datetime for.
SELECT
    id, task, args::text, queue, state, priority, attempt, max_attempts, created_at,
    least(greatest(run_at, '0001-01-02'), '9999-12-30'), key, actor, metadata::text, scheduled_for,
    batch_id
FROM pgqueue.all_jobs
WHERE %(tasks)s::text[] IS NULL OR task = ANY(%(tasks)s::text[])
ORDER BY id
