-- Every schedule and how it stands, the next one first. The table is small.
SELECT
    clock_timestamp(), name, state, words, task, cron,
    extract(epoch FROM every)::float8, tz, misfire, overlap, source, next_run_at, last_run_at,
    last_job_id, extract(epoch FROM late)::float8, runs, missed, error
FROM pgqueue.schedule_status
ORDER BY next_run_at NULLS LAST, name
LIMIT %(limit)s::bigint
