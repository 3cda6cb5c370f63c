-- Tasks whose successes of late took longer than they are to take: 95 of 100 were faster than p95.
--
-- Looks at the newest so many finished jobs and no further, by finished_jobs_id of each partition from
-- its end, so that it costs the same however long history is. A task with only a few jobs among
-- them is not judged.
WITH latest AS MATERIALIZED (
    SELECT task, state, started_at, finished_at
    FROM pgqueue.finished_jobs
    ORDER BY id DESC
    LIMIT %(limit)s::bigint
)
SELECT latest.task, count(*), task.target_ms / 1000.0::float8 AS target,
    extract(epoch FROM percentile_disc(0.95) WITHIN GROUP (
        ORDER BY latest.finished_at - latest.started_at))::float8 AS p95
FROM latest
JOIN pgqueue.tasks AS task ON task.name = latest.task
WHERE latest.state = 'succeeded' AND latest.started_at IS NOT NULL AND task.target_ms IS NOT NULL
GROUP BY latest.task, task.target_ms
HAVING count(*) >= %(fewest)s::bigint
    AND percentile_disc(0.95) WITHIN GROUP (ORDER BY latest.finished_at - latest.started_at)
        > task.target_ms * interval '1 millisecond'
ORDER BY latest.task
