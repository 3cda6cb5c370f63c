-- How the whole of it is: the view vitals, one row.
SELECT
    workers, listening, silent, open_batches, batch_jobs, schedules, disabled_schedules,
    broken_schedules, extract(epoch FROM coalesce(schedule_late, '0'))::float8,
    extract(epoch FROM coalesce(horizon_held, '0'))::float8
FROM pgqueue.vitals
