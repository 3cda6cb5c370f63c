-- How does each queue stand: how much waits, runs and fails, how long, and who works on it?
--   psql -f sql/queues.sql
-- The four numbers to watch: available, running, failure_rate, avg_run. Cheap at any size; a count
-- named in at_least stopped at its limit. Columns: \d+ pgqueue.queue_stats
SELECT
    queue, available, scheduled, retrying, running, dead, at_least, oldest_waits, delay,
    failure_rate, finished, avg_run, workers, slots, paused_at
FROM pgqueue.queue_stats
ORDER BY queue;
