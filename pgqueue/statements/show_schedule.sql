-- Everything about one schedule. By its unique name.
SELECT
    clock_timestamp(), status.name, status.state, status.words, status.task, status.cron,
    extract(epoch FROM status.every)::float8, status.tz, status.misfire, status.overlap,
    status.source, status.next_run_at, status.last_run_at, status.last_job_id,
    extract(epoch FROM status.late)::float8, status.runs, status.missed, status.error,
    schedule.args::text, schedule.seconds, schedule.misfire_max::bigint,
    extract(epoch FROM schedule.grace)::float8, extract(epoch FROM schedule.jitter)::float8,
    schedule.start_at, schedule.end_at, schedule.max_runs, schedule.ticked_until,
    schedule.queued_for, schedule.tzdata, schedule.created_at, schedule.updated_at, schedule.queue,
    schedule.actor, schedule.metadata::text, schedule.id
FROM pgqueue.schedules AS schedule
JOIN pgqueue.schedule_status AS status ON status.id = schedule.id
WHERE schedule.name = %(name)s::text
