-- Workers that vanished without a word within the last day, the latest first, and what they hold.
SELECT host, pid::bigint, extract(epoch FROM seen_ago)::float8, holds
FROM pgqueue.worker_stats
WHERE NOT alive
ORDER BY seen_ago
LIMIT 100
