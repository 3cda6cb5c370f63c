-- How every queue stands, and its settings. The counting is that of the view queue_stats, with its
-- limits: see count_queues() in waiting.sql.
SELECT
    counted.queue, counted.available, counted.more_available,
    counted.scheduled, counted.more_scheduled, counted.retrying, counted.more_scheduled,
    counted.running, counted.more_running, counted.dead, counted.more_dead,
    counted.oldest_run_at, counted.slots,
    settings.paused_at, settings.priority, settings.max_attempts, settings.max_crashes,
    settings.timeout_ms, extract(epoch FROM settings.keep)::float8,
    extract(epoch FROM settings.keep_cancelled)::float8,
    extract(epoch FROM settings.keep_dead)::float8,
    clock_timestamp()
FROM pgqueue.count_queues(%(cap)s::bigint, %(budget)s::bigint, %(most)s::bigint) AS counted
LEFT JOIN pgqueue.queues AS settings ON settings.name = counted.queue
ORDER BY counted.queue
