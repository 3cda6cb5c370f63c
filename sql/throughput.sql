-- How much was done in each of the last 60 minutes, how much of it failed, how long did jobs wait?
--   psql -f sql/throughput.sql
-- By hour and by day: pgqueue.hourly_throughput, pgqueue.daily_throughput.
SELECT
    minute, queue, sum(started) AS started, sum(finished) AS finished,
    round((1 - sum(succeeded) / nullif(sum(finished), 0))::numeric, 4) AS failure_rate,
    sum(retried) AS retried, sum(dead) AS dead, max(p95_wait) AS worst_p95_wait,
    max(p95_run) AS worst_p95_run
FROM pgqueue.throughput
GROUP BY minute, queue
ORDER BY minute DESC, queue
LIMIT 200;
