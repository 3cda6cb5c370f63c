-- How the queues stand, and how they did within the last hour: jobs by state as queue_stats has them;
-- of the last five to six minutes what was started and ended a minute, how long 95 of 100 waited and
-- the share that failed; and how many ended in which minute, counted backwards from the present one.
-- Reads views and rollups, at most so many queues, the longest first.
WITH minutes AS MATERIALIZED (
    SELECT counts.queue, counts.started, counts.waits, counts.longest_wait,
        counts.succeeded + counts.failed + counts.timed_out + counts.crashed + counts.lost AS ended,
        (extract(epoch FROM date_trunc('minute', now()) - counts.at) / 60)::bigint AS ago
    FROM pgqueue.sum_rollups('minute', now() - interval '61 minutes', true, false) AS counts
), hour AS MATERIALIZED (
    SELECT queue, json_object_agg(ago, ended)::text AS ended FROM minutes GROUP BY queue
), recent AS MATERIALIZED (
    SELECT queue, sum(started)::float8 AS started, sum(ended)::float8 AS ended,
        pgqueue.sum_histograms(waits) AS waits, max(longest_wait) AS longest_wait
    FROM minutes
    WHERE ago <= 5
    GROUP BY queue
)
SELECT
    stats.queue, stats.available, stats.running, stats.scheduled, stats.retrying, stats.dead,
    to_json(stats.at_least)::text, extract(epoch FROM stats.oldest_waits)::float8,
    coalesce(recent.started / span.minutes, 0), coalesce(recent.ended / span.minutes, 0),
    extract(epoch FROM (pgqueue.percentiles(coalesce(recent.waits, '{}'), recent.longest_wait)).bounds[2])::float8,
    stats.failure_rate::float8, stats.workers, stats.slots, stats.paused_at IS NOT NULL,
    coalesce(hour.ended, '{}')
FROM pgqueue.queue_stats AS stats
CROSS JOIN (
    SELECT 5 + extract(second FROM now())::float8 / 60 AS minutes
) AS span
LEFT JOIN recent ON recent.queue = stats.queue
LEFT JOIN hour ON hour.queue = stats.queue
ORDER BY stats.available DESC, stats.queue
LIMIT %(limit)s::bigint
