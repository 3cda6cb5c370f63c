-- What became of each task in the last hour, how long did it wait and run?
--   psql -f sql/tasks.sql
SELECT
    task, queue, started, succeeded, finished - succeeded AS failed, retried, dead, failure_rate,
    avg_wait, p95_wait, avg_run, p50_run, p95_run, p99_run, max_run, workers
FROM pgqueue.task_stats
ORDER BY finished DESC, task, queue
LIMIT 100;
