-- How every queue stands, for whoever measures: the view queue_stats, with its limits.
SELECT
    queue, available, scheduled, retrying, running, dead, to_json(at_least)::text,
    coalesce(extract(epoch FROM oldest_waits), 0)::float8, extract(epoch FROM delay)::float8,
    workers, slots, paused_at IS NOT NULL
FROM pgqueue.queue_stats
ORDER BY queue
