-- The schedules that are due, the latest first, and those that no ticker has looked at yet; without
-- a lock, for tick() judges again. Each half goes by schedules_due.
-- Returns the database's clock and in how many milliseconds the next one is due (NULL: none is
-- known) with each, or alone with NULLs.
WITH due AS (
    (SELECT * FROM pgqueue.schedules
     WHERE enabled AND ended_at IS NULL AND next_run_at IS NULL
     LIMIT %(limit)s::bigint)
    UNION ALL
    (SELECT * FROM pgqueue.schedules
     WHERE enabled AND ended_at IS NULL AND next_run_at <= statement_timestamp()
     ORDER BY next_run_at
     LIMIT %(limit)s::bigint)
)
SELECT
    clock.now, clock.next_in_ms,
    due.id, due.name, due.cron, (extract(epoch FROM due.every) * 1000)::bigint, due.seconds, due.tz,
    due.start_at, due.end_at, due.misfire, due.misfire_max,
    (extract(epoch FROM due.grace) * 1000)::bigint, due.revision, due.ticked_until, due.next_run_at,
    due.tzdata
FROM (
    SELECT
        statement_timestamp() AS now,
        (SELECT (extract(epoch FROM min(next_run_at) - clock_timestamp()) * 1000)::bigint
         FROM pgqueue.schedules
         WHERE enabled AND ended_at IS NULL AND next_run_at > statement_timestamp()) AS next_in_ms
) AS clock
LEFT JOIN due ON true
