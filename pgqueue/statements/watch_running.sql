-- What runs, the longest first.
SELECT id, queue, task, run, max_attempts, extract(epoch FROM claimed_for)::float8,
    extract(epoch FROM lease_left)::float8, host, pid::bigint, percent,
    cancel_requested_at IS NOT NULL
FROM pgqueue.running_stats
ORDER BY claimed_for DESC
LIMIT %(limit)s::bigint
