-- G10: a tick makes one job, or none for a reason; every tick between the first and the last is
-- there, as a row or in a gap, once. The schedules of a run tick at whole multiples of "every".
SELECT schedule.name, due.at, count(DISTINCT tick.tick_at) AS ticks, count(DISTINCT gap.first_at) AS gaps,
    count(DISTINCT job.id) AS jobs
FROM pgqueue.schedules AS schedule
CROSS JOIN LATERAL (
    SELECT min(tick_at) AS first, max(tick_at) AS last
    FROM pgqueue.ticks WHERE schedule_id = schedule.id
) AS span
CROSS JOIN LATERAL generate_series(span.first, span.last, schedule.every) AS due (at)
LEFT JOIN pgqueue.ticks AS tick ON tick.schedule_id = schedule.id AND tick.tick_at = due.at
LEFT JOIN pgqueue.schedule_gaps AS gap
    ON gap.schedule_id = schedule.id AND due.at BETWEEN gap.first_at AND gap.last_at
LEFT JOIN pgqueue.all_jobs AS job
    ON job.schedule_id = schedule.id AND job.scheduled_for = due.at
WHERE schedule.every IS NOT NULL
GROUP BY schedule.name, due.at, tick.outcome
HAVING count(DISTINCT tick.tick_at) + count(DISTINCT gap.first_at) <> 1
    OR count(DISTINCT job.id) <> CASE WHEN tick.outcome = 'enqueued' THEN 1 ELSE 0 END
UNION ALL
SELECT schedule.name, tick.tick_at, 1, 0, NULL
FROM pgqueue.ticks AS tick JOIN pgqueue.schedules AS schedule ON schedule.id = tick.schedule_id
WHERE extract(epoch FROM tick.tick_at)::bigint % extract(epoch FROM schedule.every)::bigint <> 0
