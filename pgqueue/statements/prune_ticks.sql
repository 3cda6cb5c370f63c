-- Forget ticks and gaps after thirty days. What keeps a tick from happening twice is ticked_until on
-- the schedule; the rows are its history. By ticks_made_at and schedule_gaps_made_at.
-- Returns how many are gone.
WITH old_ticks AS (
    DELETE FROM pgqueue.ticks AS tick
    USING (
        SELECT schedule_id, tick_at FROM pgqueue.ticks
        WHERE made_at < now() - interval '30 days'
        ORDER BY made_at
        LIMIT %(limit)s::bigint
        FOR UPDATE SKIP LOCKED
    ) AS old
    WHERE tick.schedule_id = old.schedule_id AND tick.tick_at = old.tick_at
    RETURNING 1
), old_gaps AS (
    DELETE FROM pgqueue.schedule_gaps AS gap
    USING (
        SELECT schedule_id, first_at FROM pgqueue.schedule_gaps
        WHERE made_at < now() - interval '30 days'
        ORDER BY made_at
        LIMIT %(limit)s::bigint
        FOR UPDATE SKIP LOCKED
    ) AS old
    WHERE gap.schedule_id = old.schedule_id AND gap.first_at = old.first_at
    RETURNING 1
)
SELECT (SELECT count(*) FROM old_ticks) + (SELECT count(*) FROM old_gaps)
