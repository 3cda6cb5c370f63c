-- Who is alive, what does each serve, how much does it hold, and does it hear when it is called?
--   psql -f sql/workers.sql
SELECT id, host, pid, version, queues, tasks, slots, holds, alive, listening, up_for, seen_ago
FROM pgqueue.worker_stats
ORDER BY started_at;
