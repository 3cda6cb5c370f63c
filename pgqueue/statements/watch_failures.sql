-- What failed within the last hour by task, the most first.
SELECT task, queue, failed, timed_out, crashed, lost, dead, failure_rate::float8
FROM pgqueue.task_stats
WHERE failed + timed_out + crashed + lost + dead > 0
ORDER BY failed + timed_out + crashed + lost DESC, task, queue
LIMIT %(limit)s::bigint
