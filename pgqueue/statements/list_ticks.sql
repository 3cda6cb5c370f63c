-- The latest ticks of a schedule, and the gaps between them, the latest first. By primary key.
SELECT at, until, count, outcome, job_id
FROM (
    (SELECT tick_at AS at, tick_at AS until, 1::bigint AS count, outcome, job_id
     FROM pgqueue.ticks
     WHERE schedule_id = %(schedule_id)s::bigint
     ORDER BY tick_at DESC
     LIMIT %(limit)s::bigint)
    UNION ALL
    (SELECT first_at, last_at, count, reason, NULL
     FROM pgqueue.schedule_gaps
     WHERE schedule_id = %(schedule_id)s::bigint
     ORDER BY first_at DESC
     LIMIT %(limit)s::bigint)
) AS history
ORDER BY at DESC
LIMIT %(limit)s::bigint
