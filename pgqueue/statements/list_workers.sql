-- The workers that were heard of lately, the latest first. Few rows, one a worker process. A row
-- not renewed for two minutes is of a worker that vanished, or of one with a very long lease.
SELECT
    id::text, host, pid::bigint, version, started_at, seen_at,
    seen_at > now() - interval '2 minutes' AS alive, queues::text, clock_timestamp()
FROM pgqueue.workers
ORDER BY seen_at DESC
LIMIT %(limit)s::bigint
