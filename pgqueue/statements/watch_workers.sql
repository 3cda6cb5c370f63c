-- The workers heard of within a day, those that live first, and of these the busiest.
SELECT host, pid::bigint, queues::text, coalesce(slots, 0), holds, alive, listening,
    extract(epoch FROM up_for)::float8, extract(epoch FROM seen_ago)::float8
FROM pgqueue.worker_stats
ORDER BY alive DESC, holds DESC, host, pid
LIMIT %(limit)s::bigint
